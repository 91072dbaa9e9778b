"""A PDF whose pages are JPEGs, written one by one as they are (ISO 32000-1 §7, DCTDecode)."""

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from PIL import Image

# Object numbers: the catalog, the tree of pages, then three for each page.
CATALOG, TREE, FIRST = 1, 2, 3
PER_PAGE = 3


def write_picture_pdf(file: BinaryIO, jpegs: Iterable[Path], dpi: int) -> None:
    """Write the pages; `dpi` says how large they are on paper."""
    offsets: dict[int, int] = {}
    file.write(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    page = FIRST
    for path in jpegs:
        for i, content in enumerate(_page(page, path, dpi)):
            _object(file, offsets, page + i, content)
        page += PER_PAGE
    pages = range(FIRST, page, PER_PAGE)
    kids = b" ".join(b"%d 0 R" % number for number in pages)
    _object(file, offsets, TREE, b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(pages)))
    _object(file, offsets, CATALOG, b"<</Type/Catalog/Pages %d 0 R>>" % TREE)
    table = file.tell()
    file.write(b"xref\n0 %d\n0000000000 65535 f \n" % page)
    for number in range(CATALOG, page):
        file.write(b"%010d 00000 n \n" % offsets[number])
    file.write(
        b"trailer\n<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (page, CATALOG, table)
    )


def _page(number: int, path: Path, dpi: int) -> tuple[bytes, bytes, bytes]:
    """A page, its content, and the picture that this draws."""
    with Image.open(path) as picture:
        width, height = picture.size
        colours = b"DeviceGray" if picture.mode == "L" else b"DeviceRGB"
    points = 72 * width / dpi, 72 * height / dpi
    page = (
        b"<</Type/Page/Parent %d 0 R/MediaBox[0 0 %.2f %.2f]/Contents %d 0 R"
        b"/Resources<</XObject<</P %d 0 R>>>>>>" % (TREE, *points, number + 1, number + 2)
    )
    content = _stream(b"", b"%.2f 0 0 %.2f 0 0 cm /P Do" % points)
    entries = (
        b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/%b/BitsPerComponent 8"
        b"/Filter/DCTDecode" % (width, height, colours)
    )
    return page, content, _stream(entries, path.read_bytes())


def _stream(entries: bytes, content: bytes) -> bytes:
    return b"<<%b/Length %d>>\nstream\n%b\nendstream" % (entries, len(content), content)


def _object(file: BinaryIO, offsets: dict[int, int], number: int, content: bytes) -> None:
    offsets[number] = file.tell()
    file.write(b"%d 0 obj\n%b\nendobj\n" % (number, content))
