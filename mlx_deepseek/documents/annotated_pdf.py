"""A PDF whose pages are JPEGs, stored as they are."""

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import pypdfium2 as pdfium

UNITS_PER_INCH = 72
# pdfium may not be used by two threads at once.
_PDFIUM = threading.Lock()


def write_picture_pdf(file: BinaryIO, jpegs: Iterable[Path], dpi: int) -> None:
    """Write the pages; `dpi` says how large they are on paper."""
    with _PDFIUM:
        pdf = pdfium.PdfDocument.new()
        for path in jpegs:
            image = pdfium.PdfImage.new(pdf)
            image.load_jpeg(path)
            width, height = (UNITS_PER_INCH * px / dpi for px in image.get_px_size())
            image.set_matrix(pdfium.PdfMatrix().scale(width, height))
            page = pdf.new_page(width, height)
            page.insert_obj(image)
            page.gen_content()
            page.close()
        pdf.save(file)
        pdf.close()
