"""Files that come with a message: read, bounded, and shown small."""

import base64
import io
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from mlx_deepseek.documents.pages import pages
from mlx_deepseek.vision.image_file import SUFFIXES as PICTURES
from mlx_deepseek.vision.image_file import open_picture
from mlx_deepseek_app.chat.text_files import FileError, words_of
from mlx_deepseek_app.conversation.messages import Attached, AttachedPicture, AttachedText
from mlx_deepseek_app.storage.uploads import copies_folder, remove
from mlx_deepseek_app.widgets.markdown import escaped

PICTURES_AT_MOST = 8  # of a message
FILES_AT_MOST = 20
ROOM = 0.75  # of the model's window, for the texts of one message
SIDE_PX, THUMB_PX, LARGE_PX = 2400, 320, 1600
LOSSLESS_BYTES_AT_MOST = 1 << 20
QUALITY = 92
SHOWN_CHARACTERS = 4000  # of a text, when it is looked at


@dataclass(frozen=True)
class Reader:
    """What the model in memory can take: pictures if it `sees`, `room` tokens of text."""

    sees: bool = False
    room: int = 0
    count: Callable[[str], int] = field(default=len)


def reader(engine: Any) -> Reader:
    """What an engine can take; without one nothing is cut."""
    if engine is None:
        return Reader()
    room = int(engine.context_length * ROOM)
    return Reader(getattr(engine, "sees", False), room, lambda text: len(engine.encode(text)))


def attach(
    paths: Sequence[str], had: Sequence[Attached], model: Reader
) -> tuple[tuple[Attached, ...], list[str]]:
    """What was attached before and these files, and what is wrong with some of them.

    Pictures, and PDFs as pages, are for a model that sees; else the text of a PDF is taken. No more
    than PICTURES_AT_MOST pictures are taken, and of texts no more than the model has room for.
    """
    taken, wrong = list(had), []
    for path in paths:
        name, suffix = Path(path).name, Path(path).suffix.lower()
        try:
            if len(taken) >= FILES_AT_MOST:
                raise FileError(f"A message takes {FILES_AT_MOST} files at most.")
            if suffix in PICTURES and not model.sees:
                raise FileError(f"{name} is a picture, and the model in memory sees none.")
            if model.sees and (suffix in PICTURES or suffix == ".pdf"):
                wrong += _add_pages(path, name, taken)
            else:
                taken.append(_text(Path(path), name, taken, model))
        except FileError as error:
            wrong.append(str(error))
        remove(path)  # what is needed of it was read
    return tuple(taken), wrong


def _add_pages(path: str, name: str, taken: list[Attached]) -> list[str]:
    """Take a picture, or the pages of a PDF; returns what is wrong."""
    had = sum(isinstance(one, AttachedPicture) for one in taken)
    with closing(pages([path])) as read:
        for page in islice(read, PICTURES_AT_MOST - had + 1):
            if page.picture is None:
                return [page.error.replace(page.name, name)]
            if had == PICTURES_AT_MOST:
                return [f"A message takes {PICTURES_AT_MOST} pictures or pages at most."]
            label = name if page.count == 1 else f"{name}, page {page.number}"
            taken.append(AttachedPicture(label, encoded(page.picture)))
            had += 1
    return []


def _text(path: Path, name: str, taken: Sequence[Attached], model: Reader) -> AttachedText:
    """A file's words, as many as there is room for beside those of the others."""
    text = words_of(path, name).replace("\r\n", "\n")
    if not model.room:
        return AttachedText(name, text)
    others = sum(model.count(one.text) for one in taken if isinstance(one, AttachedText))
    fits = cut(text, model.room - others, model.count)
    if not fits:
        raise FileError(f"{name}: there is no room left for it in the model's context.")
    return AttachedText(name, fits, len(fits) / len(text))


def cut(text: str, room: int, count: Callable[[str], int]) -> str:
    """As much of the beginning as `room` tokens hold, up to the end of a line if that is near."""
    size = count(text)
    while text and size > room:
        if room <= 0:
            return ""
        text = text[: min(int(len(text) * room / size), len(text) - 1)]
        text = text[: max(text.rfind("\n"), int(len(text) * 0.9))]
        size = count(text)
    return text


def encoded(picture: Image.Image) -> str:
    """A data URL of a picture, shrunk to SIDE_PX; without loss where that is small."""
    small = picture.copy()
    small.thumbnail((SIDE_PX, SIDE_PX))
    for kind, options in (("png", {}), ("jpeg", {"quality": QUALITY})):
        file = io.BytesIO()
        small.save(file, kind, **options)
        if kind == "jpeg" or file.tell() <= LOSSLESS_BYTES_AT_MOST:
            return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    raise AssertionError("the last kind is always taken")


def thumbnail(picture: AttachedPicture) -> str:
    """HTML of a small copy, which content.js shows large."""
    small, large = (_copy(picture, side) for side in (THUMB_PX, LARGE_PX))
    name = escaped(picture.name)
    return (
        f'<a class="enlarge" href="{large}" target="_blank">'
        f'<img class="thumb" src="{small}" alt="{name}" title="{name}"></a>'
    )


def _copy(picture: AttachedPicture, side_px: int) -> str:
    """The address of a copy that the page may fetch; it goes with a conversation."""
    file = copies_folder() / f"{_digest(picture)}-{side_px}.webp"
    if not file.exists():
        small = open_picture(picture.url)
        small.thumbnail((side_px, side_px))
        with suppress(FileNotFoundError):  # all of them went meanwhile: the next drawing has it
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            small.save(file)
    return f"gradio_api/file={file}"


@lru_cache(maxsize=256)
def _digest(picture: AttachedPicture) -> str:
    return sha256(picture.url.encode()).hexdigest()


def size_note(one: AttachedText) -> str:
    """How long a text is, and how much of the file that is."""
    length = f"{len(one.text):,} characters"
    return length if one.share >= 1 else f"{length} · the first {max(one.share, 0.01):.0%}"


def file_html(one: AttachedText) -> str:
    """A text in a message: its name, and on a press its words."""
    shown = one.text[:SHOWN_CHARACTERS] + ("…" if len(one.text) > SHOWN_CHARACTERS else "")
    return (
        f'<details class="file"><summary>{escaped(one.name)} '
        f'<span class="app-note">{size_note(one)}</span></summary>'
        f'<div class="as-typed" dir="auto">{escaped(shown)}</div></details>'
    )


def attached_html(attached: Sequence[Attached]) -> str:
    """What came with a message."""
    texts = "".join(file_html(one) for one in attached if isinstance(one, AttachedText))
    pictures = "".join(thumbnail(one) for one in attached if isinstance(one, AttachedPicture))
    strip = f'<div class="strip">{pictures}</div>' if pictures else ""
    return f'<div class="attached">{texts}{strip}</div>' if attached else ""


def chips_html(attached: Sequence[Attached], wrong: Sequence[str] = ()) -> str:
    """What will be sent with the next message, each with a cross, and what will not."""
    chips = "".join(_chip(number, one) for number, one in enumerate(attached))
    said = "".join(f'<p role="alert">{escaped(text)}</p>' for text in wrong)
    return f'<div class="file-chips">{chips}</div>{said}' if chips or said else ""


def _chip(number: int, one: Attached) -> str:
    name = escaped(one.name)
    if isinstance(one, AttachedPicture):
        inside = thumbnail(one)
    else:
        inside = f'<b>{name}</b><span class="app-note">{size_note(one)}</span>'
    return (
        f'<div class="file-chip">{inside}<button type="button" data-remove="{number}" '
        f'aria-label="Remove {name}">×</button></div>'
    )
