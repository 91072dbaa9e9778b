"""Pictures and pages of PDFs that come with a message: read, bounded, and shown small."""

import base64
import io
import re
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from html import escape
from itertools import islice
from pathlib import Path

from gradio.processing_utils import save_pil_to_cache
from gradio.utils import get_upload_folder
from PIL import Image

from mlx_deepseek.reading.pages import pages
from mlx_deepseek.vision.pictures import open_picture
from mlx_deepseek_app.turns import Picture

PICTURES_AT_MOST = 8  # of a message
SIDE_PX, THUMB_PX = 2400, 320
LOSSLESS_BYTES_AT_MOST = 1 << 20
QUALITY = 92
CLASS = "thumb"
THUMBNAIL = re.compile(rf'<img class="{CLASS}"[^>]*>\s*')


def attach(paths: Sequence[str], had: Sequence[Picture]) -> tuple[tuple[Picture, ...], list[str]]:
    """What was attached before and these files, and what is wrong with some of them.

    A PDF gives its pages. No more than PICTURES_AT_MOST are taken.
    """
    taken, wrong = list(had), []
    with closing(pages(list(paths))) as read:
        for page in islice(read, PICTURES_AT_MOST - len(had) + 1):
            name = Path(page.name).name
            if page.picture is None:
                wrong.append(page.error.replace(page.name, name))
            elif len(taken) == PICTURES_AT_MOST:
                wrong.append(f"A message takes {PICTURES_AT_MOST} pictures or pages at most.")
            else:
                label = name if page.count == 1 else f"{name}, page {page.number}"
                taken.append(Picture(label, encoded(page.picture)))
    return tuple(taken), wrong


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


@lru_cache(maxsize=256)
def thumbnail(picture: Picture) -> str:
    """HTML of a small copy, which the page's script knows by its class."""
    small = open_picture(picture.url)
    small.thumbnail((THUMB_PX, THUMB_PX))
    path = save_pil_to_cache(small, get_upload_folder(), format="webp")
    name = escape(picture.name)
    return f'<img class="{CLASS}" src="gradio_api/file={path}" alt="{name}" title="{name}">'


def without_thumbnails(text: str) -> str:
    """A message's Markdown without `thumbnail`s."""
    return THUMBNAIL.sub("", text)


def strip_html(pictures: Sequence[Picture], wrong: Sequence[str] = ()) -> str:
    """What will be sent with the next message."""
    shown = "".join(map(thumbnail, pictures))
    said = "".join(f'<p role="alert">{escape(text)}</p>' for text in wrong)
    return f'<div class="strip">{shown}</div>{said}' if shown or said else ""
