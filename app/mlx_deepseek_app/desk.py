"""Documents on a tab's desk: pages as they are read, and the files that are made of them."""

import shutil
import tempfile
import zipfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlx_deepseek.reading import Block, Cost, DocumentFolder, ReadPage
from mlx_deepseek.reading.answer import parse
from mlx_deepseek.reading.journal import job_for
from mlx_deepseek_app.lane import Job
from mlx_deepseek_app.seen import Shown, shown

PAGES_AT_MOST = 500  # of one document
PAGES_AT_A_TIME = 4
FILES = ("document.md", "document.json", "annotated.pdf")


@dataclass(frozen=True)
class Sheet:
    """A page as far as it is read; like `reading.ReadPage`, without the picture's pixels."""

    name: str
    number: int
    count: int
    picture: Shown | None
    answer: str
    finish: str
    cost: Cost
    error: str

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from other pages."""
        return self.name, self.number

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Its parts, with boxes in the picture's pixels."""
        size = (1, 1) if self.picture is None else self.picture.size
        return parse(self.answer, size, done=bool(self.finish))


@dataclass
class Reading:
    """Documents that are being read into `folder`; `at` None shows the page that is written."""

    folder: Path
    job: Job | None = None
    sheets: dict[tuple[str, int], Sheet] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    newest: tuple[str, int] | None = None
    at: int | None = None

    def take(self) -> bool:
        """Move what the host has read onto the desk; False if that is nothing."""
        news = self.job.take() if self.job is not None else []
        for _, sheet in news:
            self.sheets[sheet.key] = sheet
            self.newest = sheet.key
        return bool(news)

    @property
    def place(self) -> int:
        """Which page is shown, of `ordered`."""
        keys = [sheet.key for sheet in self.ordered]
        if self.at is not None:
            return min(max(self.at, 0), max(len(keys) - 1, 0))
        return keys.index(self.newest) if self.newest in keys else 0

    @property
    def ordered(self) -> list[Sheet]:
        """Pages in the order of the documents and their pages."""
        names = list(dict.fromkeys(name for name, _ in self.sheets))
        return sorted(self.sheets.values(), key=lambda one: (names.index(one.name), one.number))

    def files(self, name: str) -> list[Path]:
        """What can be taken along of a document that was read: Markdown, JSON, PDF, and all."""
        folder = self.folders.get(name)
        if folder is None or not (archive := folder.with_suffix(".zip")).is_file():
            return []
        return [*(folder / file for file in FILES if (folder / file).is_file()), archive]

    def clear(self) -> None:
        """Take everything off the desk, and off the disk."""
        shutil.rmtree(self.folder, ignore_errors=True)


def new_reading() -> Reading:
    """An empty desk with a folder of its own that only this user can read."""
    return Reading(Path(tempfile.mkdtemp(prefix="mlx-deepseek-")))


def read(
    engine: Any, files: Sequence[str], prompt: str, mode: str | None, reading: Reading
) -> Generator[Sheet]:
    """Pages as the engine reads them; what is read is written, whether this is stopped or not."""
    folders = {
        file: DocumentFolder(reading.folder, job_for(file, engine.name, prompt, mode))
        for file in files
    }
    pages = engine.read(
        *files,
        prompt=prompt,
        mode=mode,
        batch=PAGES_AT_A_TIME,
        wanted=lambda source, number: number <= PAGES_AT_MOST,
    )
    try:
        with closing(pages):
            yield from sheets(pages, folders)
    finally:
        for file, written in folders.items():
            written.finish()
            pack(written.path)
            reading.folders[file] = written.path


def sheets(pages: Iterable[ReadPage], folders: dict[str, DocumentFolder]) -> Iterator[Sheet]:
    """Pages for the desk; each one's picture is encoded once."""
    pictures: dict[tuple[str, int], Shown | None] = {}
    for page in pages:
        key = page.name, page.number
        if key not in pictures:
            pictures[key] = None if page.picture is None else shown(page.picture)
        picture = pictures[key]
        if page.finish:
            folders[page.name].add(page)
            del pictures[key]
        yield Sheet(*key, page.count, picture, page.answer, page.finish, page.cost, page.error)


def pack(folder: Path) -> None:
    """A ZIP of a document's joined files and figures, beside its folder."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (*(folder / name for name in FILES), *sorted(folder.glob("figures/*"))):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
