"""What the pages of pictures and documents show, without a browser."""

from pathlib import Path

from PIL import Image

from mlx_deepseek.documents.transcript import Cost
from mlx_deepseek_app.jobs.picture_tasks import FIND, MARKDOWN, READING, prompt, tasks
from mlx_deepseek_app.tabs.documents_html import WRITTEN, label_html, page_text, picture_html
from mlx_deepseek_app.tabs.documents_job import PageView
from mlx_deepseek_app.widgets.image_view import preview
from mlx_deepseek_app.widgets.page_text import page_html

ATTACK = "<script>alert(1)</script>"
ANSWER = f"<|ref|>{ATTACK}<|/ref|><|det|>[[0, 0, 499, 999]]<|/det|>\n{ATTACK} ```"


def view(answer=ANSWER, **changes):
    values = {
        "name": f"/tmp/{ATTACK}.pdf".replace("/script", "script"),
        "number": 1,
        "count": 2,
        "picture": preview(Image.new("RGB", (2000, 1000))),
        "answer": answer,
        "finish": "stop",
        "cost": Cost(),
        "error": "",
    }
    return PageView(**values | changes)


def test_names_labels_and_answers_are_escaped():
    page = view()
    html = picture_html(page) + label_html([page], page)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    for shown_as in ("Rendered", WRITTEN):
        text = page_text(page, shown_as)
        assert "<script" not in text


def test_boxes_are_in_the_pictures_own_pixels_though_it_travels_smaller():
    html = picture_html(view())
    assert 'viewBox="0 0 2000 1000"' in html
    assert 'width="998"' in html
    assert html.count("<rect") == 1


def test_tables_keep_their_cells_and_nothing_else():
    text = (
        "Before <b>bold</b>\n\n<table onclick=x()><tr><td colspan=2 onload=y()>*a* <img src=x></td>"
        "</tr><tr><th rowspan='999999'>b</th><td colspan=-1>c &lt;script&gt;</td></tr></table>"
    )
    made = page_html(text)
    assert "<b>" not in made
    assert '<table><tr><td colspan="2">*a*</td></tr><tr><th rowspan="100">b</th>' in made
    for gone in ("onclick", "onload", "<img", "<script", "-1"):
        assert gone not in made


def test_a_table_that_is_still_written_is_text():
    assert "<table" not in page_html("<table><tr><td>a")


def test_every_kind_of_model_has_tasks_and_words_are_put_in():
    assert [name for name, _ in tasks((), ())] == ["Answer a question", "Describe"]
    assert FIND in dict(tasks(("<|grounding|>",), ()))
    assert MARKDOWN in tasks(("<|grounding|>",), ("tiny", "base"))
    assert prompt(READING, FIND, " total ") == "Locate <|ref|>total<|/ref|> in the image."
    assert prompt(READING, FIND, "  ") == ""
    assert prompt(READING, "Text only", "") == "Free OCR."


def test_a_page_that_could_not_be_read_says_why():
    page = view(answer="", picture=None, finish="error", error=f"torn {ATTACK}")
    assert "torn &lt;script&gt;" in picture_html(page)
    assert Path(page.name).name not in picture_html(page)
