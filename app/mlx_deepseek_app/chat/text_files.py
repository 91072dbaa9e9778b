"""The words of files: plain text in any usual encoding, Word documents, and the text of PDFs."""

import re
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

from mlx_deepseek.documents.pdf import PDFDocument
from mlx_deepseek.errors import DeepSeekError, ImageError

BYTES_AT_MOST = 20 << 20  # of a file, and of what a Word document unpacks to
PAGES_AT_MOST = 2000
CHINESE_AT_LEAST = 0.6  # of the letters beyond ASCII, to take an old file for Chinese
WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
BODY = "word/document.xml"
HEADING = re.compile(r"heading ?([1-6])", re.IGNORECASE)


class FileError(DeepSeekError):
    """A file that has no words to take along."""


def words_of(path: Path, name: str) -> str:
    """The text of a file.

    Raises:
        FileError: it has none, or is too large.
    """
    if path.stat().st_size > BYTES_AT_MOST:
        raise FileError(f"{name} is larger than {BYTES_AT_MOST >> 20} MB.")
    suffix = path.suffix.lower()
    if suffix == ".pdf":
        text = pdf_text(path, name)
    elif suffix == ".docx":
        text = word_text(path, name)
    else:
        text = plain_text(path.read_bytes(), name)
    if not text.strip():
        raise FileError(f"{name} has no text in it.")
    return text


def plain_text(content: bytes, name: str) -> str:
    """Bytes as text: UTF-8, UTF-16 with its mark, or an old Chinese or western encoding."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    if b"\0" in content:
        raise FileError(f"{name} is no text, picture, PDF or Word document (.docx).")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = content.decode("gb18030")
        beyond = [letter for letter in text if not letter.isascii()]
        if sum("\u4e00" <= letter <= "\u9fff" for letter in beyond) > CHINESE_AT_LEAST * len(
            beyond
        ):
            return text
    except UnicodeDecodeError:
        pass
    return content.decode("cp1252", "replace")


def pdf_text(path: Path, name: str) -> str:
    """The text layer of a PDF, page by page."""
    try:
        with closing(PDFDocument(path)) as pdf:
            pages = [pdf.text(number + 1) for number in range(min(pdf.count, PAGES_AT_MOST))]
    except ImageError as error:
        raise FileError(str(error).replace(str(path), name)) from error
    if not any(page.strip() for page in pages):
        raise FileError(f"{name} has pictures of pages only. A model that sees can read them.")
    return "\n\n".join(
        f"[page {number}]\n{page.strip()}" for number, page in enumerate(pages, 1) if page.strip()
    )


def word_text(path: Path, name: str) -> str:
    """The paragraphs and tables of a Word document, headings and cells as in Markdown."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open(BODY) as file:
            content = file.read(BYTES_AT_MOST + 1)  # it may unpack to more than it says
    except (zipfile.BadZipFile, KeyError, OSError, RuntimeError, NotImplementedError) as error:
        raise FileError(f"{name} is damaged, or no Word document ({error}).") from error
    if len(content) > BYTES_AT_MOST:
        raise FileError(f"{name} is larger than {BYTES_AT_MOST >> 20} MB.")
    if b"<!DOCTYPE" in content:  # Word writes none; entities could grow without end
        raise FileError(f"{name} is damaged, or no Word document.")
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise FileError(f"{name} is damaged, or no Word document ({error}).") from error
    body = root.find(f"{WORD}body")
    return "\n\n".join(_blocks(body)) if body is not None else ""


def _blocks(body: ElementTree.Element) -> Iterator[str]:
    for block in body:
        if block.tag == f"{WORD}p":
            if text := _paragraph(block).strip():
                yield _marks(block) + text
        elif block.tag == f"{WORD}tbl":
            yield "\n".join(_rows(block))
        elif block.tag == f"{WORD}sdt":  # a field around other blocks
            content = block.find(f"{WORD}sdtContent")
            yield from () if content is None else _blocks(content)


def _rows(table: ElementTree.Element) -> Iterator[str]:
    for row in table.iter(f"{WORD}tr"):
        cells = (
            " ".join(_paragraph(one).strip() for one in cell.iter(f"{WORD}p"))
            for cell in row.findall(f"{WORD}tc")
        )
        yield f"| {' | '.join(cells)} |"


def _paragraph(paragraph: ElementTree.Element) -> str:
    said = {f"{WORD}tab": "\t", f"{WORD}br": "\n", f"{WORD}cr": "\n"}
    return "".join(
        (part.text or "") if part.tag == f"{WORD}t" else said.get(part.tag, "")
        for part in paragraph.iter()
    )


def _marks(paragraph: ElementTree.Element) -> str:
    style = paragraph.find(f"{WORD}pPr/{WORD}pStyle")
    name = "" if style is None else style.get(f"{WORD}val", "")
    if found := HEADING.fullmatch(name):
        return "#" * int(found[1]) + " "
    return "- " if paragraph.find(f"{WORD}pPr/{WORD}numPr") is not None else ""
