"""Pages come one by one; a bad one is reported and the others still come."""

import pytest
from PIL import Image

from mlx_deepseek.documents.pages import open_document, pages
from mlx_deepseek.documents.pdf import PDFDocument
from mlx_deepseek.errors import ImageError
from tests.documents.made import CATALOG, encrypted, form_bomb, image_bomb, pdf, text_pdf
from tests.vision.test_image_file import encoded

PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[%b]>>"


def is_blank(picture: Image.Image) -> bool:
    return picture.getextrema() == ((255, 255),) * 3


def test_pdf_pages_are_rendered_at_144_dots_per_inch():
    first, second = pages([text_pdf("one", "two")])
    assert (first.number, first.count, second.number) == (1, 2, 2)
    assert first.picture is not None
    assert first.picture.size == (400, 200)
    assert not is_blank(first.picture)
    assert first.picture != second.picture


def test_a_pdf_from_a_file_whatever_its_name(tmp_path):
    path = tmp_path / "ä scan.png"
    path.write_bytes(text_pdf("one"))
    (page,) = pages([str(path)])
    assert page.picture is not None
    assert page.name == str(path)


def test_nothing_is_rendered_before_it_is_asked_for():
    rest = pages([text_pdf("one", "two"), b"broken"])
    assert next(rest).number == 1
    rest.close()  # the renderer ends


def test_wanted_pages_only():
    found = pages([text_pdf("a", "b", "c")], wanted=lambda source, number: number == 2)
    assert [page.number for page in found] == [2]


def test_bad_sources_do_not_stop_the_others(tmp_path):
    sources = [b"", tmp_path / "none.pdf", b"%PDF-1.7 broken", Image.new("RGB", (0, 0))]
    found = list(pages([*sources, encoded(Image.new("RGB", (9, 9)))]))
    assert [bool(page.error) for page in found] == [True] * 4 + [False]
    assert [page.number for page in found] == [0, 0, 0, 1, 1]
    assert str(tmp_path / "none.pdf") in found[1].error


def test_a_bad_page_does_not_stop_the_others():
    document = pdf(
        CATALOG,
        b"<</Type/Pages/Kids[3 0 R 2 0 R 4 0 R]/Count 3>>",  # one page is the tree itself
        PAGE % b"0 0 72 72",
        PAGE % b"0 0 72 72",
    )
    found = list(pages([document]))
    assert [page.number for page in found] == [1, 2, 3]
    (bad,) = [page for page in found if page.error]
    assert f"page {bad.number} cannot be rendered" in bad.error


def test_passwords():
    document = encrypted(b"secret")
    (page,) = pages([document], password="secret")
    assert page.picture is not None
    assert page.picture.size == (144, 72)
    with pytest.raises(ImageError, match="needs a password"):
        open_document(document)
    with pytest.raises(ImageError, match="does not open it"):
        open_document(document, "Secret")
    (page,) = pages([encrypted(b"")])
    assert page.picture is not None


def test_tiff_pages():
    content = encoded(
        Image.new("RGB", (9, 9)), "TIFF", save_all=True, append_images=[Image.new("L", (5, 5))]
    )
    assert [page.picture.size for page in pages([content]) if page.picture] == [(9, 9), (5, 5)]


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (b"0 0 72 36", (144, 72)),
        (b"0 0 1 1", (32, 32)),
        (b"0 0 14400 14400", (5000, 5000)),
        (b"0 0 14400 72", (20000, 100)),
    ],
)
def test_page_sizes(box, size):
    document = PDFDocument(pdf(CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1>>", PAGE % box))
    assert document.render(1).size == size
    document.close()


def test_rotation():
    page = b"<</Type/Page/Parent 2 0 R/Rotate 90/MediaBox[0 0 72 36]>>"
    document = open_document(pdf(CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1>>", page))
    assert document.render(1).size == (72, 144)
    document.close()


def test_a_page_that_never_ends_is_given_up():
    document = PDFDocument(form_bomb(), timeout_s=0.5)
    for _ in range(4):
        with pytest.raises(ImageError, match=r"longer than 0.5 seconds|pages before it"):
            document.render(1)
    document.close()


def test_a_renderer_that_ends_is_replaced():
    document = PDFDocument(text_pdf("one", "two"))
    assert document._renderer is not None
    document._renderer.kill()
    with pytest.raises(ImageError, match="ends the renderer"):
        document.render(1)
    assert document.render(2).size == (400, 200)
    document.close()


def test_a_picture_bomb_inside_a_pdf():
    (page,) = pages([image_bomb(3000)])
    assert page.picture is not None
    assert page.picture.getpixel((50, 50)) == (0, 0, 0)
