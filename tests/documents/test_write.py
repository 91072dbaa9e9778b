"""Folders of documents: every file, links that hold, and runs that go on where one stopped."""

import json
import re

import pypdfium2
import pytest
from PIL import Image

from mlx_deepseek.documents.annotate import annotate, figures
from mlx_deepseek.documents.blocks import parse
from mlx_deepseek.documents.job_folder import digest, folder_for, job_for
from mlx_deepseek.documents.markdown import page_markdown
from mlx_deepseek.documents.read import ReadPage, read
from mlx_deepseek.documents.write import DocumentFolder
from mlx_deepseek.errors import DeepSeekError
from tests.documents.made import text_pdf
from tests.documents.scripted import Scripted


def job(source, prompt="markdown"):
    return job_for(source, "tiny", prompt, None)


def read_into(root, source, model, pages=None):
    """Read a document, or its first `pages`, as the command does."""
    folder = DocumentFolder(root, job(source))
    states = read(model, [source], wanted=lambda _, number: not folder.is_done(number))
    for state in (state for state in states if state.finish):
        folder.add(state)
        pages = pages and pages - 1
        if pages == 0:
            break
    return folder, folder.finish()


@pytest.fixture
def pdf(tmp_path):
    path = tmp_path / "my scan.pdf"
    path.write_bytes(text_pdf("one", "two", "three"))
    return path


def test_files_of_a_document(pdf, tmp_path):
    folder, whole = read_into(tmp_path / "out", pdf, Scripted())
    assert folder.path == tmp_path / "out" / "my scan"
    names = {file.name for file in folder.path.iterdir()}
    pages = {f"page-000{n}.{ending}" for n in (1, 2, 3) for ending in ("md", "json", "jpg")}
    whole_files = {"document.md", "document.json", "annotated.pdf"}
    assert names == pages | whole_files | {"figures", "job.json"}
    text = (folder.path / "document.md").read_text()
    assert re.findall(r"# Page \d|<!-- page \d -->", text) == [
        part for n in (0, 1, 2) for part in (f"<!-- page {n + 1} -->", f"# Page {n}")
    ]
    assert "\\( a := b \\)" in text
    links = re.findall(r"!\[image\]\((.*?)\)", text)
    assert len(links) == 3
    for link in links:
        with Image.open(folder.path / link) as figure:
            assert figure.size == (160, 120)
    assert json.loads((folder.path / "document.json").read_text()) == whole
    page = whole["pages"][1]
    assert page == json.loads((folder.path / "page-0002.json").read_text())
    assert page["blocks"][0] == {"label": "title", "boxes": [[0, 0, 400, 40]], "text": "# Page 1"}
    assert (page["compression"], page["width"], whole["count"]) == (2.5, 400, 3)
    shown = pypdfium2.PdfDocument(folder.path / "annotated.pdf")
    assert len(shown) == 3
    assert shown[2].get_size() == pytest.approx((200, 100), abs=0.01)
    shown.close()


def test_a_second_run_goes_on(pdf, tmp_path):
    read_into(tmp_path, pdf, Scripted(), pages=1)
    second = Scripted(lambda index: "second run")
    folder, whole = read_into(tmp_path, pdf, second)
    assert len(second.seen) == 2
    assert [page["page"] for page in whole["pages"]] == [1, 2, 3]
    assert "# Page 0" in (folder.path / "page-0001.md").read_text()
    assert (folder.path / "document.md").read_text().count("second run") == 2
    third = Scripted()
    assert read_into(tmp_path, pdf, third)[1] == whole
    assert third.seen == []


@pytest.mark.parametrize("ending", ["json", "md", "jpg"])
def test_a_page_of_which_a_file_is_missing_is_read_again(pdf, tmp_path, ending):
    folder, _ = read_into(tmp_path, pdf, Scripted())
    (folder.path / f"page-0002.{ending}").unlink()
    model = Scripted()
    read_into(tmp_path, pdf, model)
    assert len(model.seen) == 1


def test_a_damaged_page_is_read_again(pdf, tmp_path):
    folder, whole = read_into(tmp_path, pdf, Scripted())
    for damage in ("", "{", "[]", '{"page": 7}'):
        (folder.path / "page-0002.json").write_text(damage)
        model = Scripted(lambda index: Scripted().answer(1))
        assert read_into(tmp_path, pdf, model)[1] == whole
        assert len(model.seen) == 1


def test_nothing_half_written_stays(pdf, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DeepSeekError, match=r"No space left.*goes on where it stopped"):
        DocumentFolder(tmp_path / "out", job(pdf))
    assert list((tmp_path / "out").rglob("*.*")) == []


def test_each_job_has_its_folder(pdf, tmp_path):
    root = tmp_path / "out"
    first = folder_for(root, job(pdf))
    assert folder_for(root, job(pdf)) == first
    assert folder_for(root, job(pdf, "free")).name == "my scan-2"
    other = tmp_path / "other" / "my scan.png"
    other.parent.mkdir()
    other.write_bytes(b"x")
    assert folder_for(root, job(other)).name == "my scan-3"
    pdf.write_bytes(b"changed")
    assert folder_for(root, job(pdf)).name == "my scan-4"
    assert folder_for(root, job("/../..")).name == "document"
    assert folder_for(root, job("a" * 300 + ".png")).name == "a" * 100
    assert digest(b"x") == digest(other) != digest("none")


def page(answer, **options):
    options = {"number": 1, "count": 1, "picture": Image.new("RGB", (999, 999)), **options}
    return ReadPage(source="a", name="a", answer=answer, **{"finish": "stop", **options})


def test_failed_pages_are_in_the_document(pdf, tmp_path):
    folder = DocumentFolder(tmp_path, job(pdf))
    folder.add(page("fine"))
    folder.add(page("", number=2, count=2, picture=None, finish="error", error="it is torn"))
    whole = folder.finish()
    assert "Page 2 could not be read: it is torn" in (folder.path / "document.md").read_text()
    assert whole["pages"][1] == {"page": 2, "finish": "error", "error": "it is torn"}
    assert not DocumentFolder(tmp_path, job(pdf)).is_done(2)


def test_a_document_that_does_not_open_has_a_folder_that_says_so(tmp_path):
    folder, whole = read_into(tmp_path, tmp_path / "none.pdf", Scripted())
    assert whole["pages"][0]["page"] == 0
    assert "no such file" in (folder.path / "document.md").read_text()
    assert not (folder.path / "annotated.pdf").exists()


def test_markdown_keeps_tables_formulas_and_located_words():
    table = "<table><tr><td>a</td></tr></table>"
    answer = (
        f"<|ref|>table<|/ref|><|det|>[[0,0,9,9]]<|/det|>\n{table}\n\n\n\n\\[ x \\eqqcolon y \\]"
    )
    assert page_markdown(page(answer), {}) == f"{table}\n\n\\[ x =: y \\]\n"
    assert page_markdown(page("<|ref|>a cat<|/ref|><|det|>[[0,0,9,9]]<|/det|>"), {}) == "a cat\n"
    assert "cut off" in page_markdown(page("x", finish="length"), {})


def test_halves_of_characters_can_be_written(tmp_path):
    folder = DocumentFolder(tmp_path, job("a"))
    folder.add(page("x \ud83d y"))
    folder.finish()
    assert "x ? y" in (folder.path / "document.md").read_text()


def test_figures_without_area_are_left_out():
    picture = Image.new("RGB", (100, 100))
    answer = "<|ref|>image<|/ref|><|det|>[[5,5,5,5],[0,0,999,499]]<|/det|>"
    (block,) = parse(answer, picture.size)
    assert [figure.size for figure in figures(picture, block)] == [(100, 49)]


def test_annotations():
    white = Image.new("RGB", (4000, 1000), "white")
    labels = ["title", "中文标题", "a" * 500, ""]
    answer = "".join(
        f"<|ref|>{label}<|/ref|><|det|>[[{100 + i},100,900,900],[0,0,0,0]]<|/det|>\n"
        for i, label in enumerate(labels)
    )
    shown = annotate(white, parse(answer, white.size))
    assert shown.size == (2000, 500)
    assert shown.getpixel((300, 51)) != (255, 255, 255)  # within a border
    assert shown.getpixel((1990, 490)) == (255, 255, 255)
    assert white.getextrema() == ((255, 255),) * 3
