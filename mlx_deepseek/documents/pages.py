"""The pages of pictures and PDFs, one after another; a bad page never stops the others."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeGuard

from PIL import Image

from mlx_deepseek.documents.pdf import PDFDocument
from mlx_deepseek.errors import ImageError
from mlx_deepseek.vision import image_file
from mlx_deepseek.vision.image_file import Source, count_frames, describe, open_picture

SUFFIXES = (".pdf", *image_file.SUFFIXES)
# How many bytes of a file may come before the "%PDF-" of a PDF.
PDF_HEADER_BYTES = 1024
# A damaged PDF can claim millions of pages that are not there.
MAX_BAD_IN_A_ROW = 100


class Document(Protocol):
    """What pages come from."""

    # How many pages there are.
    count: int

    def render(self, number: int) -> Image.Image:
        """Page `number`, from 1, as RGB picture."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


@dataclass(frozen=True)
class Page:
    """Page `number` of `count`; `picture` is None where `error` says why there is none.

    Of a source that cannot be opened at all there is one, number 0 of 0.
    """

    source: Source = field(repr=False)
    number: int
    count: int
    picture: Image.Image | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """The source's, for messages and folders."""
        return describe(self.source)


class PictureDocument:
    """A picture, or the pages of a TIFF."""

    def __init__(self, source: Source):
        self.source = source
        self.count = count_frames(source)

    def render(self, number: int) -> Image.Image:
        """Page `number`, from 1.

        Raises:
            ImageError: it is damaged or too large.
        """
        return open_picture(self.source, number - 1)

    def close(self) -> None:
        """Nothing is open."""


def open_document(source: Source, password: str | None = None) -> Document:
    """A picture or PDF, by its content and not by its name.

    Raises:
        ImageError: neither of them, damaged, or encrypted with another password.
    """
    if is_pdf(source):
        return PDFDocument(source, password)
    return PictureDocument(source)


def is_pdf(source: Source) -> TypeGuard[str | Path | bytes]:
    """Whether a source begins as PDFs do; False if it cannot be opened."""
    if isinstance(source, bytes):
        return b"%PDF-" in source[:PDF_HEADER_BYTES]
    if isinstance(source, Image.Image) or str(source).startswith("data:"):
        return False
    try:
        path = Path(source).expanduser()
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return b"%PDF-" in file.read(PDF_HEADER_BYTES)
    except (OSError, ValueError, RuntimeError):
        return False


def pages(
    sources: Sequence[Source],
    password: str | None = None,
    wanted: Callable[[Source, int], bool] = lambda source, number: True,
) -> Generator[Page]:
    """All pages of all sources, rendered when they are asked for.

    Pages that are not `wanted`, by source and number, are neither rendered nor given.
    """
    for source in sources:
        try:
            document = open_document(source, password)
        except ImageError as error:
            yield Page(source, 0, 0, error=str(error))
            continue
        try:
            yield from _rendered(source, document, wanted)
        finally:
            document.close()


def _rendered(
    source: Source, document: Document, wanted: Callable[[Source, int], bool]
) -> Iterator[Page]:
    bad = 0  # in a row
    for number in range(1, document.count + 1):
        if not wanted(source, number):
            continue
        if bad == MAX_BAD_IN_A_ROW:
            rest = f"pages {number} to {document.count} are left out, as {bad} before them failed"
            yield Page(source, number, document.count, error=f"{describe(source)}: {rest}.")
            return
        page = _page(source, document, number)
        bad = bad + 1 if page.error else 0
        yield page


def _page(source: Source, document: Document, number: int) -> Page:
    try:
        return Page(source, number, document.count, document.render(number))
    except ImageError as error:
        return Page(source, number, document.count, error=str(error))
