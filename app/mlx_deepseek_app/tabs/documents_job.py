"""The documents that a tab reads: pages as they are read, and the files that are made of them."""

import shutil
import tempfile
import zipfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mlx_deepseek.documents.blocks import Block, parse
from mlx_deepseek.documents.job_folder import job_for
from mlx_deepseek.documents.read import ReadPage
from mlx_deepseek.documents.transcript import Cost
from mlx_deepseek.documents.write import DocumentFolder
from mlx_deepseek_app.jobs.queue import Job
from mlx_deepseek_app.widgets.image_view import Preview, preview, thumb

PAGES_AT_MOST = 500  # of one document
PAGES_AT_A_TIME = 4
FILES = ("document.md", "document.json", "annotated.pdf")


@dataclass(frozen=True)
class PageView:
    """A page as far as it is read; like `reading.ReadPage`, without the picture's pixels."""

    name: str
    number: int
    count: int
    picture: Preview | None
    answer: str
    finish: str
    cost: Cost
    error: str
    thumb: str = ""

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
class DocumentJob:
    """Documents that are being read into `folder`; `at` None shows the page that is written.

    Once all is read it shows the first page.
    """

    folder: Path
    job: Job | None = None
    pages: dict[tuple[str, int], PageView] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    newest: tuple[str, int] | None = None
    at: int | None = None
    strip: tuple = ()  # what the strip of pages shows

    def take(self) -> bool:
        """Move what the service has read into the job; False if that is nothing."""
        news = self.job.take() if self.job is not None else []
        for _, page in news:
            self.pages[page.key] = page
            self.newest = page.key
        return bool(news)

    @property
    def place(self) -> int:
        """Which page is shown, of `ordered`."""
        keys = [page.key for page in self.ordered]
        if self.at is not None or (self.job is not None and self.job.finished):
            return min(max(self.at or 0, 0), max(len(keys) - 1, 0))
        return keys.index(self.newest) if self.newest in keys else 0

    @property
    def ordered(self) -> list[PageView]:
        """Pages in the order of the documents and their pages."""
        names = list(dict.fromkeys(name for name, _ in self.pages))
        return sorted(self.pages.values(), key=lambda one: (names.index(one.name), one.number))

    def files(self, name: str) -> list[Path]:
        """What can be taken along of a document that was read: Markdown, JSON, PDF, and all."""
        folder = self.folders.get(name)
        if folder is None or not (archive := folder.with_suffix(".zip")).is_file():
            return []
        return [*(folder / file for file in FILES if (folder / file).is_file()), archive]

    def clear(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.folder, ignore_errors=True)


def new_reading() -> DocumentJob:
    """An empty job with a folder of its own that only this user can read."""
    return DocumentJob(Path(tempfile.mkdtemp(prefix="mlx-deepseek-")))


def read(
    engine: Any, files: Sequence[str], prompt: str, mode: str | None, reading: DocumentJob
) -> Generator[PageView]:
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
            yield from page_views(pages, folders)
    finally:
        for file, written in folders.items():
            written.finish()
            pack(written.path)
            reading.folders[file] = written.path


def page_views(pages: Iterable[ReadPage], folders: dict[str, DocumentFolder]) -> Iterator[PageView]:
    """Pages for the tab; each one's picture is encoded once."""
    pictures: dict[tuple[str, int], tuple[Preview | None, str]] = {}
    for page in pages:
        key = page.name, page.number
        if key not in pictures:
            seen = page.picture
            pictures[key] = (None, "") if seen is None else (preview(seen), thumb(seen))
        picture, small = pictures[key]
        if page.finish:
            folders[page.name].add(page)
            del pictures[key]
        told = page.answer, page.finish, page.cost, page.error
        yield PageView(*key, page.count, picture, *told, small)


def pack(folder: Path) -> None:
    """A ZIP of a document's joined files and figures, beside its folder."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        for file in (*(folder / name for name in FILES), *sorted(folder.glob("figures/*"))):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
