"""The drawing page in a real browser."""

import io

import pytest
from PIL import Image
from playwright.sync_api import expect

from mlx_deepseek.image_generation.draw import read_origin
from tests.app.test_browser import to_page
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

SOURCE = "painter"


@pytest.fixture
def page(able_site, open_page):
    page = open_page(able_site)
    page.locator("#nav").get_by_role("link", name="Draw").click()
    return page


def draw(page, prompt, seed):
    page.get_by_label("What to draw").fill(prompt)
    page.get_by_label("Seed (empty").fill(str(seed))
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#drawing-state")).to_contain_text("Done")


def choose(page, words):
    page.locator("#gallery-shown .thumbnail-item", has_text=words).click()
    expect(page.locator("#gallery-chosen")).to_contain_text(words)


def test_a_model_that_draws_nothing_has_no_page_for_it(site, open_page):
    expect(open_page(site).locator("#nav").get_by_role("link", name="Draw")).to_have_count(0)


def test_the_gallery_keeps_finds_shows_and_deletes(page, engine):
    draw(page, "a violet lighthouse", 51)
    draw(page, "two teapots", 52)
    shown = page.locator("#gallery-shown .thumbnail-item")
    expect(shown.first).to_contain_text("two teapots · 52")
    page.get_by_label("Search the gallery").fill("VIOLET painter")
    expect(shown).to_have_count(1)
    choose(page, "a violet lighthouse")
    expect(page.locator("#gallery-chosen")).to_contain_text("Guidance")
    with page.expect_download() as taken:
        page.locator("#gallery-chosen").get_by_text("Download").click()
    origin = read_origin(Image.open(taken.value.path()))
    assert origin is not None
    assert (origin.prompt, origin.seed) == ("a violet lighthouse", 51)
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#gallery-none")).to_contain_text("No picture has these words")
    expect(page.locator("#gallery-chosen")).to_be_hidden()
    page.get_by_label("Search the gallery").fill("")
    expect(shown.first).to_contain_text("two teapots")


def test_a_picture_is_drawn_again_varied_and_asked_about(page, engine):
    draw(page, "a striped kettle", 61)
    page.get_by_label("What to draw").fill("something else")
    choose(page, "a striped kettle")
    page.get_by_role("button", name="Copy settings").click()
    expect(page.get_by_label("What to draw")).to_have_value("a striped kettle")
    expect(page.get_by_label("Seed (empty")).to_have_value("61")
    page.get_by_role("button", name="Draw again").click()
    wait_until(lambda: len(engine.calls) == 2)
    assert engine.calls[0] == engine.calls[1]
    page.get_by_role("button", name="Vary the seed").click()
    wait_until(lambda: len(engine.calls) == 3)
    assert engine.calls[2]["prompt"] == "a striped kettle"
    assert engine.calls[2]["seed"] != 61
    page.get_by_role("button", name="Ask about it").click()
    expect(page.locator("#pictures-picture img")).to_be_visible()
    page.get_by_label("Question or phrase").fill("say: a kettle")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#pictures-text")).to_contain_text("a kettle")


def test_pictures_are_drawn_and_say_what_made_them(page, engine):
    expect(page.get_by_label("Steps")).to_have_count(0)  # this model has a temperature instead
    page.get_by_label("What to draw").fill("a red bicycle")
    page.get_by_label("Seed (empty").fill("41")
    page.get_by_role("spinbutton", name="Pictures").fill("2")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#drawing-state")).to_contain_text("Done")
    pictures = page.locator("#drawing-gallery .thumbnail-item img")
    expect(pictures).to_have_count(2)
    expect(page.locator("#drawing-gallery")).to_contain_text("42")
    asked = engine.calls[-1]
    assert (asked["prompt"], asked["n"], asked["seed"]) == ("a red bicycle", 2, 41)
    assert (asked["guidance"], asked["temperature"], asked["best_of"]) == (5, 1, None)
    assert "steps" not in asked
    content = page.request.get(pictures.first.get_attribute("src")).body()
    origin = read_origin(Image.open(io.BytesIO(content)))
    assert origin is not None
    assert (origin.seed, origin.prompt) == (41, "a red bicycle")


def test_stop_ends_the_drawing(page, engine):
    page.get_by_label("What to draw").fill("slow cat")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#drawing-gallery img").first).to_be_visible()  # a preview
    expect(page.locator("#drawing-state")).to_contain_text("75 %")
    page.locator("#drawing-stop").click()
    expect(page.locator("#drawing-state")).to_contain_text("Stopped")
    wait_until(engine.closed.is_set)


def test_nothing_to_draw_is_said_and_dice_give_seeds(page):
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#drawing-state [role=alert]")).to_contain_text("Write what to draw first")
    page.locator("#drawing-dice").click()
    expect(page.get_by_label("Seed (empty")).not_to_have_value("")
    page.get_by_label("What to draw").fill("a cat")
    page.get_by_label("Seed (empty").fill("x7")
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.locator("#drawing-state [role=alert]")).to_contain_text("whole number")


def test_360_px_suffice(able_site, open_page):
    page = open_page(able_site, width=360)
    to_page(page, "Draw")
    expect(page.get_by_label("What to draw")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
