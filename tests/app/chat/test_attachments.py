"""Pictures and PDFs in the message box: from files to the model, the page and the disk."""

import base64
import io
import os
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import expect

from mlx_deepseek import load
from mlx_deepseek_app.chat import attachments
from mlx_deepseek_app.chat.attachments import (
    FILES_AT_MOST,
    PICTURES_AT_MOST,
    SIDE_PX,
    Reader,
    attach,
    chips_html,
    cut,
    encoded,
    reader,
)
from mlx_deepseek_app.chat.replies import unseen
from mlx_deepseek_app.chat.transcript import rows
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.messages import AttachedPicture
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs.model_info import ModelFacts
from mlx_deepseek_app.storage import import_export
from mlx_deepseek_app.storage.conversations import SavedConversation, conversations_of
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.widgets.markdown import user_html
from tests.app.conversation.test_tools_json import called
from tests.app.test_browser import ask, idle
from tests.documents.made import text_pdf

EYES, WORDS = Reader(sees=True), Reader(room=100, count=lambda text: len(text.split()))


@pytest.fixture
def cat(tmp_path):
    Image.new("RGB", (300, 200), "orange").save(tmp_path / "cat <b>.png")
    return tmp_path / "cat <b>.png"


@pytest.fixture
def pdf(tmp_path):
    (tmp_path / "two.pdf").write_bytes(text_pdf("one page", "two pages"))
    return tmp_path / "two.pdf"


def decoded(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def test_pictures_and_pages_are_taken_and_what_cannot_be_is_named(cat, pdf, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    taken, wrong = attach([str(cat), str(pdf), str(tmp_path / "broken.png")], (), EYES)
    assert [one.name for one in taken] == ["cat <b>.png", "two.pdf, page 1", "two.pdf, page 2"]
    assert decoded(taken[0].url).getpixel((0, 0)) == (255, 165, 0)
    assert len(wrong) == 1
    assert wrong[0].startswith("broken.png")
    assert str(tmp_path) not in wrong[0]


def test_a_message_takes_no_more_than_it_says(cat):
    taken, wrong = attach([str(cat)] * (PICTURES_AT_MOST + 2), (), EYES)
    assert len(taken) == PICTURES_AT_MOST
    assert str(PICTURES_AT_MOST) in wrong[0]
    again, wrong = attach([str(cat)], taken, EYES)
    assert again == taken
    assert wrong


def test_large_pictures_are_sent_smaller(monkeypatch):
    url = encoded(Image.new("RGB", (SIDE_PX * 2, 50)))
    assert decoded(url).size == (SIDE_PX, 25)
    assert url.startswith("data:image/png")
    monkeypatch.setattr(attachments, "LOSSLESS_BYTES_AT_MOST", 10)
    assert encoded(Image.new("RGB", (99, 50))).startswith("data:image/jpeg")


def test_a_copy_that_was_removed_is_made_again(cat):
    (picture,), _ = attach([str(cat)], (), EYES)
    shown = attachments.thumbnail(picture)
    Store().forget_traces()
    assert attachments.thumbnail(picture) == shown
    (small,) = re.findall(r'src="gradio_api/file=([^"]+)"', shown)
    assert Image.open(small).size == (300, 200)
    assert cat.exists()  # it is no upload


def test_names_are_escaped_beside_the_box(cat):
    taken, _ = attach([str(cat)], (), EYES)
    assert "<b>" not in chips_html(taken, ["<b>"])


def test_pictures_go_to_a_model_that_sees_and_stay_through_edits(cat):
    taken, _ = attach([str(cat)], (), EYES)
    talk = Conversation().ask("What is it?", taken).finish()
    parts = talk.prompt("", sees=True)[0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]
    assert parts[0]["image_url"]["url"] == taken[0].url
    assert talk.prompt()[0]["content"] == "What is it?"
    assert talk.edit(0, "And now?").messages[0].pictures == taken
    assert "sees no pictures" in unseen(talk, ModelFacts(name="nano"))
    assert not unseen(talk, ModelFacts(sees=True))
    assert not unseen(called(), ModelFacts())
    (shown,) = rows(talk)[0][0]["content"]
    assert 'alt="cat &lt;b&gt;.png"' in shown["text"]
    assert shown["text"].endswith(user_html("What is it?"))


def test_pictures_are_kept_exported_and_brought_in(cat, tmp_path):
    taken, _ = attach([str(cat)], (), EYES)
    talk = Conversation().ask("What is it?", taken).finish()
    store = Store(tmp_path)
    conversations_of(store, "").save(talk, PanelSettings(), "eyes")
    store.close()
    kept = conversations_of(Store(tmp_path), "").open(talk.id)
    assert kept.conversation.messages == talk.messages
    assert (
        import_export.from_json(import_export.to_json(kept)).conversation.messages == talk.messages
    )
    assert "*Picture: cat <b>.png*" in import_export.to_markdown(kept)


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "/etc/passwd", "data:image/png;base64,AAAA", "data:x"]
)
def test_an_imported_picture_comes_from_nowhere_else(url):
    talk = Conversation().ask("x", [AttachedPicture("a", url)]).finish()
    text = import_export.to_json(SavedConversation(talk, PanelSettings(), "eyes", "t"))
    with pytest.raises(StoreError, match=r"In turn 1"):
        import_export.from_json(text)


# -- texts ---------------------------------------------------------------------------------------


def test_the_text_of_a_pdf_goes_to_a_model_without_eyes(pdf, cat, tmp_path):
    taken, wrong = attach([str(pdf), str(cat)], (), WORDS)
    assert [one.text for one in taken] == ["[page 1]\none page\n\n[page 2]\ntwo pages"]
    assert wrong == ["cat <b>.png is a picture, and the model in memory sees none."]
    Image.new("RGB", (50, 50)).save(tmp_path / "scan.pdf")
    _, wrong = attach([str(tmp_path / "scan.pdf")], (), WORDS)
    assert wrong == ["scan.pdf has pictures of pages only. A model that sees can read them."]
    (tmp_path / "torn.pdf").write_bytes(b"%PDF-1.7 torn")
    _, wrong = attach([str(tmp_path / "torn.pdf")], (), WORDS)
    assert wrong[0].startswith("torn.pdf: the PDF is damaged")


def test_a_long_text_is_cut_to_what_fits_and_says_so(tmp_path):
    (tmp_path / "long.csv").write_text("".join(f"{n},{n * n} x\n" for n in range(1000)))
    (tmp_path / "note.md").write_text("# Note\n\nshort one")
    taken, wrong = attach([str(tmp_path / "note.md"), str(tmp_path / "long.csv")], (), WORDS)
    note, table = taken
    assert not wrong
    assert note.share == 1
    assert 80 < WORDS.count(table.text) <= 96
    assert table.text.endswith("x")
    assert table.share == len(table.text) / sum(len(f"{n},{n * n} x\n") for n in range(1000))
    assert "the first 3%" in chips_html(taken)
    talk = Conversation().ask("How many?", taken)
    sent = talk.prompt()[0]["content"]
    assert sent.startswith(
        "[file name]: note.md\n[file content begin]\n# Note\n\nshort one\n[file c"
    )
    assert "[the file goes on: this is the first 3% of it]\n[file content end]\nHow many?" in sent
    _, wrong = attach([str(tmp_path / "long.csv")], (*taken, *taken), WORDS)
    assert wrong == ["long.csv: there is no room left for it in the model's context."]
    _, wrong = attach([str(tmp_path / "note.md")] * (FILES_AT_MOST + 1), (), EYES)
    assert wrong == [f"A message takes {FILES_AT_MOST} files at most."]


@given(st.text(max_size=300), st.integers(0, 40))
def test_what_is_cut_is_a_beginning_that_fits(text, room):
    fits = cut(text, room, len)
    assert text.startswith(fits)
    assert len(fits) <= room or fits == text


def test_texts_are_kept_shown_exported_and_brought_in(tmp_path):
    (tmp_path / "a <b>.py").write_text("print('<i>')\n" * 900)
    taken, _ = attach([str(tmp_path / "a <b>.py")], (), Reader())
    talk = Conversation().ask("What?", taken).finish()
    assert talk.edit(0, "And?").messages[0].texts == taken
    store = Store(tmp_path)
    conversations_of(store, "").save(talk, PanelSettings(), "nano")
    store.close()
    kept = conversations_of(Store(tmp_path), "").open(talk.id)
    assert kept.conversation.messages == talk.messages
    brought = import_export.from_json(import_export.to_json(kept))
    assert brought.conversation.messages == talk.messages
    assert "*File: a <b>.py*" in import_export.to_markdown(kept)
    shown = rows(talk)[0][0]["content"][0]["text"]
    assert "a &lt;b&gt;.py" in shown
    assert "<i>" not in shown
    assert "11,700 characters" in shown


def test_other_questions_of_a_document_find_it_in_the_prefix_cache(tmp_path):
    (tmp_path / "list.txt").write_text("\n".join(f"{n} is {n + 4}" for n in range(30)))
    with load("nano") as engine:
        taken, _ = attach([str(tmp_path / "list.txt")], (), reader(engine))
        for question in ("What is 3 + 4?", "What is 12 + 30?", "Sort 3, 1, 2."):
            talk = Conversation().ask(question, taken)
            list(engine.stream(talk.prompt(), max_tokens=2))
        first, *others = engine.cache_report().records
        document = len(engine.encode(taken[0].text))
    assert document > 100
    assert first.cached_tokens < 20
    assert all(one.cached_tokens > 0.9 * document for one in others)


# -- in a real browser ---------------------------------------------------------------------------


SOURCE = "eyes"


DRAG = """() => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(["x"], "x.txt"));
  const drag = new DragEvent("dragover", { bubbles: true, cancelable: true, dataTransfer });
  document.querySelector("#chat").dispatchEvent(drag);
}"""
DROP = """([name, type, code]) => {
  const bytes = Uint8Array.from(atob(code), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  const target = document.querySelector("#chat");
  for (const kind of ["dragover", "drop"])
    target.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer }));
}"""


def sources(pictures):
    return pictures.evaluate_all("(all) => all.map((one) => one.src)")


@pytest.mark.browser
def test_a_picture_and_a_dropped_pdf_are_sent_and_seen_again(
    able_site, engine, open_page, cat, pdf
):
    page = open_page(able_site)
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Attach").click()
    choosing.value.set_files(cat)
    strip = page.locator("#attached img")
    expect(strip).to_have_count(1)
    page.evaluate(DROP, ["two.pdf", "application/pdf", base64.b64encode(pdf.read_bytes()).decode()])
    expect(strip).to_have_count(3)
    assert strip.first.evaluate("(image) => image.decode().then(() => image.naturalWidth)") == 300
    page.locator("#prompt textarea").fill("say: a cat")
    page.locator("#prompt textarea").press("Enter")
    expect(page.locator("#chat [data-testid=bot]").last).to_contain_text("a cat")
    expect(strip).to_have_count(0)
    sent = engine.calls[-1]["messages"][-1]["content"]
    assert [part["type"] for part in sent] == ["image_url"] * 3 + ["text"]
    bubble = page.locator("#chat [data-testid=user] img")
    expect(bubble).to_have_count(3)
    expect(bubble.first).to_have_attribute("alt", "cat b.png")
    bubble.last.click()
    large = page.locator(".lightbox img")
    wide = "(image) => image.decode().then(() => image.naturalWidth)"
    assert large.evaluate(wide) > bubble.last.evaluate(wide)
    page.keyboard.press("Escape")
    expect(large).to_have_count(0)
    # editing the words keeps the pictures
    page.locator("#chat").get_by_role("button", name="Edit").first.click()
    editor = page.locator(".message-editor textarea")
    expect(editor).to_have_value("say: a cat")
    editor.fill("say: a dog")
    page.locator(".message-editor").get_by_role("button", name="Send").click()
    expect(page.locator("#chat [data-testid=bot]").last).to_contain_text("a dog")
    assert len(engine.calls[-1]["messages"][-1]["content"]) == 4
    idle(page)
    # what was uploaded went when it was read, and the copies that are shown go with the chat
    uploads = Path(os.environ["GRADIO_TEMP_DIR"])
    assert not [*uploads.rglob("cat*.png"), *uploads.rglob("two.pdf")]
    copies = [Path(unquote(one.split("file=")[1])) for one in sources(bubble)]
    assert len(copies) == 3
    assert all(one.stat().st_mode & 0o077 == 0 for one in (uploads, copies[0].parent))
    page.get_by_label("More for say: a cat", exact=True).click()
    page.get_by_label("Delete say: a cat", exact=True).click()
    page.get_by_role("button", name="Delete for good?").click()
    expect(bubble).to_have_count(0)
    assert not any(one.exists() for one in copies)


@pytest.mark.browser
def test_files_are_removed_one_by_one_and_wrong_ones_named(able_site, open_page, cat, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "note.md").write_text("words")
    page = open_page(able_site, width=360)
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Attach").click()
    choosing.value.set_files([cat, tmp_path / "broken.png", tmp_path / "note.md"])
    expect(page.locator("#attached [role=alert]")).to_contain_text("broken.png")
    expect(page.locator(".file-chip")).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Remove cat").click()
    expect(page.locator(".file-chip")).to_have_text(re.compile("note.md"))
    page.get_by_role("button", name="Remove note.md").click()
    expect(page.locator("#attached")).to_have_count(0)


@pytest.mark.browser
def test_a_text_is_dropped_and_goes_to_a_model_without_eyes(site, engines, open_page):
    page = open_page(site)
    page.evaluate(DRAG)
    expect(page.locator("#conversation[data-drop]")).to_have_count(1)
    code = base64.b64encode(b"a,b\n1,2\n").decode()
    page.evaluate(DROP, ["table.csv", "text/csv", code])
    expect(page.locator("#conversation[data-drop]")).to_have_count(0)
    expect(page.locator(".file-chip")).to_contain_text("8 characters")
    ask(page, "say: seen")
    idle(page)
    sent = engines[-1].calls[-1]["messages"][-1]["content"]
    assert sent.startswith("[file name]: table.csv\n[file content begin]\na,b\n1,2")
    expect(page.locator(".file-chip")).to_have_count(0)
    bubble = page.locator("#chat [data-testid=user]")
    bubble.get_by_text("table.csv").click()
    expect(bubble.locator(".file .as-typed")).to_contain_text("1,2")
