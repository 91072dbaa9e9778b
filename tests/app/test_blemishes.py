"""Holes, dead buttons and fixed widths that a picky user found."""

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.app.conftest import chromium
from tests.app.test_browser import ask, idle, to_page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(running_chromium):
    """One with a mouse, which Playwright gives to those that it starts itself."""
    with sync_playwright() as playwright:
        mouse = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        mouse.new_context()  # `contexts` takes it for those who ask for no options
        yield mouse
        mouse.close()


def box(one):
    return one.bounding_box()


def test_the_page_has_no_holes_and_its_panel_any_width(site, open_page):
    page = open_page(site, width=1440, height=900)
    for text in ("say: one", "say: two", "say: three"):
        ask(page, text)
        idle(page)
    rows = page.locator("#chat .message-row")
    tops = rows.evaluate_all("all => all.map((one) => one.getBoundingClientRect().top)")
    ends = rows.evaluate_all("all => all.map((one) => one.getBoundingClientRect().bottom)")
    gaps = [top - end for top, end in zip(tops[1:4], ends[:3], strict=True)]
    assert max(gaps) <= 40  # tools that are not seen take no room of their own
    first = page.locator("#chat .message-buttons").first
    bottom = box(first)["y"] + box(first)["height"]
    assert bottom <= tops[1] + 8  # nor do they lie over the words below

    page.locator("#settings-button").click()
    expect(page.locator("#preset-delete")).to_be_hidden()
    panel, edge = page.locator("#settings"), page.get_by_role("separator")
    width = box(panel)["width"]
    assert abs(box(edge)["height"] - box(panel)["height"]) < 2
    x, y = box(edge)["x"] + 3, box(edge)["y"] + 300
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 120, y)
    page.mouse.up()
    assert abs(box(panel)["width"] - width - 120) < 6
    edge.press("ArrowRight")
    assert abs(box(panel)["width"] - width - 96) < 6
    wide = box(panel)["width"]
    page.reload()
    page.locator("#settings-button").click()
    assert abs(box(panel)["width"] - wide) < 2
    page.locator("#settings-close").click()

    to_page(page, "Models")
    cards = page.locator("#models .card:has(details)")
    expect(cards.nth(3)).to_be_visible()
    before = box(cards.nth(0)), box(cards.nth(1))
    assert before[0]["y"] == before[1]["y"]
    cards.nth(0).locator("summary").click()
    opened, beside = box(cards.nth(0)), box(cards.nth(1))
    assert opened["width"] > 2 * before[0]["width"]
    assert not opened["y"] < beside["y"] + 1 < opened["y"] + opened["height"]
    assert beside["height"] <= before[1]["height"] + 60
