"""The pages of pictures and documents in a real browser."""

import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from mlx_deepseek_app.storage.uploads import uploads_folder
from tests.app.test_browser import to_page
from tests.documents.made import text_pdf
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

SOURCE = "eyes"
GROUNDED = "<|ref|>the cat<|/ref|><|det|>[[100, 100, 500, 500]]<|/det|>"


@pytest.fixture
def cat(tmp_path) -> Path:
    picture = Image.new("RGB", (400, 300), "white")
    ImageDraw.Draw(picture).ellipse((40, 30, 200, 150), fill="orange")
    picture.save(tmp_path / "cat & dog.png")
    return tmp_path / "cat & dog.png"


def choose(page, name, files):
    to_page(page, name)
    with page.expect_file_chooser() as choosing:
        page.locator(f"#{name.lower()}-files button").first.click()
    choosing.value.set_files(files)


def test_a_model_without_eyes_has_no_pages_for_them(site, open_page):
    page = open_page(site)
    expect(page.locator("#nav").get_by_role("link", name="Models")).to_be_visible()
    expect(page.locator("#nav").get_by_role("link", name="Documents")).to_have_count(0)


def test_a_picture_is_asked_about_and_boxes_are_drawn(able_site, engine, open_page, cat):
    page = open_page(able_site)
    page.evaluate("window.hacked = 0")
    choose(page, "Pictures", cat)
    figure = page.locator("#pictures .preview")
    expect(figure.locator("img")).to_have_attribute("alt", cat.name)
    attack = "<img src=http://other.example/a.png onerror=hacked=1>"
    page.get_by_label("Question or phrase").fill(f"say: {attack} {GROUNDED} sleeps")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#pictures-state")).to_contain_text("Done")
    expect(figure.locator("rect")).to_have_count(1)
    assert figure.locator("rect").get_attribute("x") == "40"
    expect(figure.locator("svg")).to_contain_text("the cat")
    expect(page.locator("#pictures-text")).to_contain_text("the cat sleeps")
    assert page.locator("#pictures-text img").count() == 0
    assert page.evaluate("window.hacked") == 0
    assert len(engine.calls[-1]["images"]) == 1
    page.get_by_label("Question or phrase").fill("slow")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#pictures-text")).to_contain_text("tick")
    page.locator("#pictures-stop").click()
    assert engine.closed.wait(60)
    expect(page.locator("#pictures-state")).to_contain_text("Stopped")


def test_an_upload_goes_with_the_next_one_and_with_its_tab(able_site, open_page, cat):
    def uploads():
        return sorted(path.name for path in uploads_folder().glob("*/a* cat.png"))

    others = [cat.rename(cat.with_name("a white cat.png")), cat.with_name("a black cat.png")]
    Image.new("RGB", (300, 300), "black").save(others[1])
    page = open_page(able_site)
    choose(page, "Pictures", others[0])
    expect(page.locator("#pictures .preview img")).to_have_attribute("alt", others[0].name)
    assert uploads() == [others[0].name]
    page.locator("#pictures-files").get_by_role("button", name="Clear").click()
    wait_until(lambda: not uploads(), 60)
    choose(page, "Pictures", others[1])
    expect(page.locator("#pictures .preview img")).to_have_attribute("alt", others[1].name)
    assert uploads() == [others[1].name]
    page.close()
    wait_until(lambda: not uploads(), 60)


def test_a_pasted_file_that_is_no_picture_is_named(able_site, open_page):
    page = open_page(able_site)
    page.locator("#nav").get_by_role("link", name="Pictures").click()
    expect(page.locator("#pictures-files")).to_be_visible()
    page.evaluate("""() => {
      const files = new DataTransfer();
      files.items.add(new File(["no picture"], "broken.png", { type: "image/png" }));
      document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: files }));
    }""")
    expect(page.locator("#pictures-state [role=alert]")).to_contain_text("broken.png")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#pictures-state")).to_contain_text("Choose a picture first.")


def test_a_document_is_paged_while_it_is_read_and_taken_along(
    able_site, engine, open_page, tmp_path
):
    (tmp_path / "three pages.pdf").write_bytes(text_pdf("One", "Two", "Three"))
    (tmp_path / "torn.pdf").write_bytes(b"%PDF-1.7 nothing")
    page = open_page(able_site)
    choose(page, "Documents", [tmp_path / "three pages.pdf", tmp_path / "torn.pdf"])
    expect(page.locator("#documents-files")).to_contain_text("torn")
    engine.step_s = 0.4
    page.get_by_role("button", name="Read", exact=True).click()
    expect(page.locator("#documents-state")).to_contain_text("Reading")
    expect(page.locator("#documents-label")).to_contain_text("three pages.pdf")
    for _ in range(3):  # to the first, however far the reading is
        page.locator("#documents-before").click()
    expect(page.locator("#documents-label")).to_contain_text("three pages.pdf, page 1 of 3")
    engine.step_s = 0.01
    state = page.locator("#documents-state")
    expect(state).to_contain_text("Read: 3 of 3 pages · 75 text tokens from 30 vision tokens")
    expect(state.locator("[role=alert]")).to_contain_text("torn.pdf")
    expect(page.locator("#documents-label")).to_contain_text("page 1 of 3")  # where the user is
    expect(page.locator("#documents .preview rect")).to_have_count(3)
    expect(page.locator("#documents-text h1")).to_have_text("Page 0")
    page.get_by_label("As written").check()
    expect(page.locator("#documents-text pre")).to_contain_text("<|ref|>title<|/ref|>")
    files = {}
    for name in ("Markdown", "JSON", "annotated PDF", "all with figures"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=f"Get {name}").click()
        files[name] = Path(waiting.value.path())
    assert "# Page 0" in files["Markdown"].read_text()
    assert [one["page"] for one in json.loads(files["JSON"].read_text())["pages"]] == [1, 2, 3]
    assert files["annotated PDF"].read_bytes().startswith(b"%PDF")
    with zipfile.ZipFile(files["all with figures"]) as archive:
        assert {"document.md", "figures/page-0001-1.jpg"} <= set(archive.namelist())
    page.close()


def test_reading_stops_and_keeps_what_is_done(able_site, engine, open_page, tmp_path):
    (tmp_path / "long.pdf").write_bytes(text_pdf(*"abcdefghijklmnopqrst"))
    page = open_page(able_site)
    choose(page, "Documents", tmp_path / "long.pdf")
    expect(page.locator("#documents-files")).to_contain_text("long")
    engine.step_s = 0.15
    page.get_by_role("button", name="Read", exact=True).click()
    expect(page.locator("#documents-state")).to_contain_text("4 of 20 pages")
    page.locator("#documents-stop").click()
    expect(page.locator("#documents-state")).to_contain_text("Stopped")
    expect(page.get_by_role("button", name="Get Markdown")).to_be_visible()
    engine.step_s = 0.01


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_pages_have_everything(able_site, open_page, scheme, cat):
    page = open_page(able_site, width=360, height=740, color_scheme=scheme)
    choose(page, "Pictures", cat)
    expect(page.locator("#pictures .preview")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wait_until(lambda: page.get_by_role("button", name="Ask").is_visible())
