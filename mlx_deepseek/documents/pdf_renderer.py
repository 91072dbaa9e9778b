"""A program that renders a PDF's pages: run by `pdf`, which survives it if a page does not.

One line of JSON and what it announces, on standard input: {"path"} or {"bytes"} with these bytes,
"password" and "memory_bytes"; then {"page"} or {"text"}, a page's number, as often as wanted. On
standard output one line of JSON for each: {"count"}; {"width", "height"} with RGB bytes; {"text"};
or {"error", "code"}.
"""

import json
import sys
from contextlib import suppress
from typing import Any, BinaryIO

import pypdfium2 as pdfium

# The resolution at which the authors render pages; PDF's unit is 1/72 inch.
DPI, UNITS_PER_INCH = 144, 72
# Larger pages, as posters, are rendered at fewer dots per inch; models see less than this.
MAX_PAGE_PIXELS = 25_000_000
MAX_PAGE_SIDE = 20_000
# A page this small still gets pixels enough to be seen.
MIN_PAGE_SIDE = 32

Answer = tuple[dict[str, Any], bytes]


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Open the document of the first request, render the pages of the others."""
    pdf: Any = None
    for line in requests:
        request = json.loads(line)
        try:
            if pdf is None:
                pdf, answer = _open(request, requests)
            elif "text" in request:
                answer = _text(pdf, request["text"])
            else:
                answer = _render(pdf, request["page"])
        except (pdfium.PdfiumError, OSError, ValueError, MemoryError) as error:
            text = str(error).rstrip(".") or type(error).__name__
            answer = {"error": text, "code": getattr(error, "err_code", None)}, b""
        header, content = answer
        answers.write(json.dumps(header).encode() + b"\n" + content)
        answers.flush()


def _open(request: dict[str, Any], requests: BinaryIO) -> tuple[pdfium.PdfDocument, Answer]:
    _limit_memory(request["memory_bytes"])
    source = request["path"] if "path" in request else requests.read(request["bytes"])
    pdf = pdfium.PdfDocument(source, password=request["password"])
    with suppress(pdfium.PdfiumError):  # damaged forms; the pages may still be whole
        pdf.init_forms()
    return pdf, ({"count": len(pdf)}, b"")


def _render(pdf: pdfium.PdfDocument, number: int) -> Answer:
    """Page `number`, from 1, with its annotations and form fields."""
    page: Any = pdf[number - 1]
    try:
        bitmap = page.render(scale=_scale(*page.get_size()))
        picture = bitmap.to_pil().convert("RGB")
        bitmap.close()
        return {"width": picture.width, "height": picture.height}, picture.tobytes()
    finally:
        page.close()


def _text(pdf: pdfium.PdfDocument, number: int) -> Answer:
    """The text layer of page `number`, from 1."""
    page: Any = pdf[number - 1]
    try:
        layer = page.get_textpage()
        text = layer.get_text_bounded(errors="replace")
        layer.close()
        return {"text": text.replace("\r\n", "\n")}, b""
    finally:
        page.close()


def _scale(width: float, height: float) -> float:
    """Pixels per unit for a page of this size."""
    if not (0 < width < float("inf") and 0 < height < float("inf")):
        raise ValueError(f"it measures {width:g} x {height:g} points")
    scale = max(DPI / UNITS_PER_INCH, MIN_PAGE_SIDE / min(width, height))
    area_scale = (MAX_PAGE_PIXELS / (width * height)) ** 0.5
    return min(scale, area_scale, MAX_PAGE_SIDE / max(width, height))


def _limit_memory(nbytes: int) -> None:
    """Let this process die before the machine swaps; macOS and Windows have no such limit."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (nbytes, nbytes))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
