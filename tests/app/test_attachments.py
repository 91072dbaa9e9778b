"""Pictures and PDFs in the message box: from files to the model, the page and the disk."""

import base64
import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from mlx_deepseek_app import attachments, portable
from mlx_deepseek_app.attachments import (
    PICTURES_AT_MOST,
    SIDE_PX,
    attach,
    encoded,
    strip_html,
    without_thumbnails,
)
from mlx_deepseek_app.chat import unseen
from mlx_deepseek_app.command import serve
from mlx_deepseek_app.conversations import Kept
from mlx_deepseek_app.database import StoreError
from mlx_deepseek_app.model import ModelFacts
from mlx_deepseek_app.session import Conversation, Settings
from mlx_deepseek_app.store import Store
from mlx_deepseek_app.text import user_markdown
from mlx_deepseek_app.transcript import rows
from mlx_deepseek_app.turns import Picture
from tests.app import scripted
from tests.app.test_structure import called
from tests.reading.made import text_pdf


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
    taken, wrong = attach([str(cat), str(pdf), str(tmp_path / "broken.png")], ())
    assert [one.name for one in taken] == ["cat <b>.png", "two.pdf, page 1", "two.pdf, page 2"]
    assert decoded(taken[0].url).getpixel((0, 0)) == (255, 165, 0)
    assert len(wrong) == 1
    assert wrong[0].startswith("broken.png")
    assert str(tmp_path) not in wrong[0]


def test_a_message_takes_no_more_than_it_says(cat):
    taken, wrong = attach([str(cat)] * (PICTURES_AT_MOST + 2), ())
    assert len(taken) == PICTURES_AT_MOST
    assert str(PICTURES_AT_MOST) in wrong[0]
    again, wrong = attach([str(cat)], taken)
    assert again == taken
    assert wrong


def test_large_pictures_are_sent_smaller(monkeypatch):
    url = encoded(Image.new("RGB", (SIDE_PX * 2, 50)))
    assert decoded(url).size == (SIDE_PX, 25)
    assert url.startswith("data:image/png")
    monkeypatch.setattr(attachments, "LOSSLESS_BYTES_AT_MOST", 10)
    assert encoded(Image.new("RGB", (99, 50))).startswith("data:image/jpeg")


def test_names_are_escaped_beside_the_box(cat):
    taken, _ = attach([str(cat)], ())
    assert "<b>" not in strip_html(taken, ["<b>"])


def test_pictures_go_to_a_model_that_sees_and_stay_through_edits(cat):
    taken, _ = attach([str(cat)], ())
    talk = Conversation().ask("What is it?", taken).finish()
    parts = talk.messages("", sees=True)[0]["content"]
    assert [part["type"] for part in parts] == ["image_url", "text"]
    assert parts[0]["image_url"]["url"] == taken[0].url
    assert talk.messages()[0]["content"] == "What is it?"
    assert talk.edit(0, "And now?").turns[0].pictures == taken
    assert "sees no pictures" in unseen(talk, ModelFacts(name="nano"))
    assert not unseen(talk, ModelFacts(sees=True))
    assert not unseen(called(), ModelFacts())
    (shown,) = rows(talk)[0][0]["content"]
    assert 'alt="cat &lt;b&gt;.png"' in shown["text"]
    assert without_thumbnails(shown["text"]) == user_markdown("What is it?")


def test_pictures_are_kept_exported_and_brought_in(cat, tmp_path):
    taken, _ = attach([str(cat)], ())
    talk = Conversation().ask("What is it?", taken).finish()
    store = Store(tmp_path)
    store.of("").save(talk, Settings(), "eyes")
    store.close()
    kept = Store(tmp_path).of("").open(talk.id)
    assert kept.conversation.turns == talk.turns
    assert portable.from_json(portable.to_json(kept)).conversation.turns == talk.turns
    assert "*Picture: cat <b>.png*" in portable.to_markdown(kept)


@pytest.mark.parametrize(
    "url", ["https://example.com/a.png", "/etc/passwd", "data:image/png;base64,AAAA", "data:x"]
)
def test_an_imported_picture_comes_from_nowhere_else(url):
    talk = Conversation().ask("x", [Picture("a", url)]).finish()
    text = portable.to_json(Kept(talk, Settings(), "eyes", "t"))
    with pytest.raises(StoreError, match=r"In turn 1"):
        portable.from_json(text)


# -- in a real browser ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine():
    return scripted.load("eyes")


@pytest.fixture(scope="module")
def seeing_site(engine):
    served = serve(lambda source, **_: engine, "eyes")
    yield served
    served.close()


DROP = """([name, type, code]) => {
  const bytes = Uint8Array.from(atob(code), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type }));
  const target = document.querySelector("#chat");
  for (const kind of ["dragover", "drop"])
    target.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer }));
}"""


@pytest.mark.browser
def test_a_picture_and_a_dropped_pdf_are_sent_and_seen_again(
    seeing_site, engine, open_page, cat, pdf
):
    page = open_page(seeing_site)
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
    # editing the words keeps the pictures
    page.locator("#chat").get_by_role("button", name="Edit").first.click()
    editor = page.locator("#chat textarea")
    expect(editor).to_have_value("say: a cat")
    editor.fill("say: a dog")
    page.locator("#chat").get_by_role("button", name="Submit").first.click()
    expect(page.locator("#chat [data-testid=bot]").last).to_contain_text("a dog")
    assert len(engine.calls[-1]["messages"][-1]["content"]) == 4


@pytest.mark.browser
def test_attachments_are_removed_and_wrong_ones_named(seeing_site, open_page, cat, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    page = open_page(seeing_site, width=360)
    with page.expect_file_chooser() as choosing:
        page.get_by_role("button", name="Attach").click()
    choosing.value.set_files([cat, tmp_path / "broken.png"])
    expect(page.locator("#attached [role=alert]")).to_contain_text("broken.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("button", name="Remove").click()
    expect(page.locator("#attached")).to_have_count(0)


@pytest.mark.browser
def test_a_model_without_eyes_takes_no_attachments(site, open_page):
    expect(open_page(site).get_by_role("button", name="Attach")).to_have_count(0)
