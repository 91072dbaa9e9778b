"""Two models side by side, in a real browser."""

import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.jobs.queue import Answer
from mlx_deepseek_app.tabs.compare import Side, difference
from tests.waiting import wait_until

pytestmark = pytest.mark.browser


def sides(*texts):
    return [Side("", None, 0.0, Answer(text=text)) for text in texts]


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (("a b", "a  b"), "are the same"),
        (("a b c", "a b d"), "first 2 words in common"),
        (("a b", "a b c"), "first 2 words in common"),
        (("x", "y"), "from the first word on"),
    ],
)
def test_where_two_answers_part(texts, told):
    assert told in difference(sides(*texts))
    assert difference(sides("", "y")) == ""


@pytest.fixture
def compare(open_page):
    def opened(served):
        page = open_page(served)
        page.locator("#nav").get_by_role("link", name="Compare").click()
        return page

    return opened


def test_one_prompt_is_answered_twice_and_differently(site, engines, compare):
    page = compare(site)
    page.get_by_label("Prompt for both").fill("say: hello you")
    thinking = page.locator("#compare-right").get_by_label("Thinking")
    thinking.click()
    page.get_by_role("option", name="answers at once").click()
    page.get_by_role("button", name="Compare").click()
    for name in ("left", "right"):
        column = page.locator(f"#compare-{name}")
        expect(column).to_contain_text("hello you")
        expect(column).to_contain_text("tokens/s")
    expect(page.locator("#thoughts-left summary")).to_have_text("Thinking")
    expect(page.locator("#thoughts-left p")).to_be_hidden()
    expect(page.locator("#compare-state")).to_contain_text("Both answers are the same.")
    expect(page.get_by_label("Model, left")).to_have_value("scripted, in memory")
    page.evaluate("navigator.clipboard.writeText = (text) => { window.copied = text; }")
    page.locator("#compare-left").get_by_role("button", name="Copy").click()
    assert page.evaluate("copied") == "hello you"
    assert {call["thinking"] for call in engines[-1].calls[-2:]} == {None, False}
    seeds = {call["sampling"].seed for call in engines[-1].calls[-2:]}
    assert len(seeds) == 1


def test_another_model_is_borrowed_and_the_chats_stays(site, engines, compare):
    page = compare(site)
    chat_model = page.locator("#model-menu .menu-button").inner_text()
    page.get_by_label("Prompt for both").fill("say: same")
    source = page.get_by_label("Model, right")
    source.fill("borrowed")
    source.press("Enter")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#compare-right")).to_contain_text("same")
    assert engines[-1].name == "borrowed"
    assert len(engines[-1].calls) == 1
    assert page.locator("#model-menu .menu-button").inner_text() == chat_model
    source.fill("broken")
    source.press("Enter")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#compare-right [role=alert]")).to_contain_text("Download the checkpoint")


def test_stop_ends_both(site, engines, compare):
    page = compare(site)
    page.get_by_label("Prompt for both").fill("slow")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#compare-left")).to_contain_text("tick")
    expect(page.locator("#compare-right")).to_contain_text("tick")
    page.locator("#compare-stop").click()
    expect(page.get_by_role("button", name="Compare")).to_be_visible()
    wait_until(lambda: not site.service.replies.running)
    page.get_by_role("button", name="Compare").scroll_into_view_if_needed()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
