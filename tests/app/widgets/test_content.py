"""What is written, in a real browser: sizes, code and its bar, previews that reach nothing."""

import socket

import pytest
from playwright.sync_api import expect

from tests.app.test_browser import ANSWER, ASKED, ask, idle

pytestmark = pytest.mark.browser

# each way out of the frame that is known
ESCAPES = """
<h1 id=done>still here</h1><img src="{url}img"><link rel=stylesheet href="{url}css">
<link rel=preconnect href="{url}"><base href="{url}"><meta http-equiv=refresh content="0;url={url}">
<style>@import "{url}import"; h1 {{ color: rgb(0, 128, 128); background: url({url}bg) }}</style>
<iframe src="{url}frame"></iframe><iframe srcdoc="<img src={url}inner>"></iframe>
<video src="{url}video" poster="{url}poster"></video><object data="{url}object"></object>
<svg width=50 height=50><a xlink:href="{url}svg"><image href="{url}image"/><circle r=9 /></a></svg>
<form action="{url}form"><button formaction="{url}button">send</button></form>
<a href="{url}link" ping="{url}ping">link</a>
<img src=x onerror="document.querySelector('#done').textContent = 'ran'">
<script>document.querySelector("#done").textContent = "ran"; parent.hacked = 1;</script>
"""


@pytest.fixture
def listener():
    """A server of this machine that only notes who comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def test_a_preview_shows_and_reaches_neither_the_page_nor_the_network(site, open_page, listener):
    page = open_page(site, watched=False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    ask(page, f"say: ```html\n{ESCAPES.format(url=url)}\n```")
    idle(page)
    preview = page.get_by_role("button", name="Preview")
    preview.click()
    frame = page.frame_locator("#chat iframe")
    expect(frame.locator("#done")).to_have_css("color", "rgb(0, 128, 128)")
    frame.get_by_text("link").click()
    frame.get_by_role("button", name="send").click()
    expect(frame.locator("#done")).to_have_text("still here")
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None
    with pytest.raises(BlockingIOError):
        listener.accept()
    preview.click()
    expect(page.locator("#chat iframe")).to_have_count(0)


DIAGRAM = """graph TD
  A[Begin] -->|yes| B["<img src={url}label onerror=parent.hacked=1>End"]
  click A href "{url}click"
"""


def test_mermaid_is_drawn_on_request_in_the_frame_of_previews(site, open_page, listener):
    page = open_page(site, watched=False)  # the browser says what it keeps from running
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    ask(page, f"say: ```mermaid\n{DIAGRAM.format(url=url)}```\n\n```mermaid\ngraph TD\n  A --\n```")
    idle(page)
    assert page.evaluate(
        "performance.getEntriesByType('resource').every(({ name }) => !name.includes('mermaid'))"
    )
    blocks = page.locator(f"{ANSWER} .code_wrap")
    blocks.nth(0).locator("button[title=Preview]").click()
    frame = blocks.nth(0).locator("iframe")
    expect(frame).to_have_attribute("sandbox", "")
    drawing = frame.content_frame.locator("svg")
    expect(drawing).to_contain_text("Begin")
    expect(drawing).to_contain_text("yes")
    expect(drawing.locator(".node")).to_have_count(2)
    assert drawing.bounding_box()["height"] > 100
    blocks.nth(1).locator("button[title=Preview]").click()
    expect(blocks.nth(1)).to_contain_text("Mermaid cannot draw this.")
    assert page.evaluate("window.hacked") is None
    with pytest.raises(BlockingIOError):
        listener.accept()
    blocks.nth(0).locator("button[title=Preview]").click()
    expect(frame).to_have_count(0)


def test_headings_code_lists_and_long_messages(site, open_page):
    page = open_page(site, color_scheme="dark")
    text = "# A\n## B\n### C\n\n- [x] done\n\n| a | b |\n|-|-|\n| x<br>y | z |\n\n"
    ask(page, f"say: {text}```python\n{'x = 1; ' * 40}\n```" + "\n\nend" * 9)
    idle(page)
    answer = page.locator(ANSWER).last
    size = "(one) => parseFloat(getComputedStyle(one).fontSize)"
    sizes = [answer.locator(name).evaluate(size) for name in ("h1", "h2", "h3", "pre code")]
    assert sizes[0] > sizes[1] > sizes[2] > 16
    assert sizes[3] == 13
    box = "(one) => getComputedStyle(one).backgroundColor"
    assert answer.locator(".task-box").evaluate(box) == "rgb(59, 87, 224)"
    assert answer.locator("td br").count() == 1
    expect(answer.locator(".code-language")).to_have_text("python")
    pre = answer.locator("pre")
    wide = "(one) => one.scrollWidth > one.clientWidth"
    assert pre.evaluate(wide)
    answer.get_by_title("Wrap lines").click()
    assert not pre.evaluate(wide)
    mine = page.locator(ASKED)
    high = mine.bounding_box()["height"]
    assert high < 400
    mine.get_by_role("button", name="Show all").click()
    expect(mine.get_by_role("button", name="Show less")).to_be_visible()
    assert mine.bounding_box()["height"] > high


def test_the_chat_follows_its_end_until_one_scrolls_up(site, engines, open_page):
    page = open_page(site)
    below = """() => { const log = document.querySelector("#chat [role=log]");
      return Math.round(log.scrollHeight - log.scrollTop - log.clientHeight); }"""
    ask(page, "say: " + "word\n\n" * 150)
    idle(page)
    page.wait_for_function(f"({below})() < 5")
    engines[-1].step_s = 0.1
    ask(page, "say: " + "word\n\n" * 60)
    expect(page.locator(f"{ANSWER} .caret")).to_be_visible()
    page.wait_for_function(f"({below})() < 5")
    page.locator("#chat").hover()
    page.mouse.wheel(0, -700)
    page.wait_for_function(f"({below})() > 500")
    engines[-1].step_s = 0.01
    idle(page)
    page.wait_for_timeout(500)
    assert page.evaluate(below) > 500
    ask(page, "say: more")
    idle(page)
    page.wait_for_function(f"({below})() < 5")


def test_every_reply_says_what_it_took_and_can_be_answered_again(site, engines, open_page):
    page = open_page(site)
    for text in ("say: one", "say: two"):
        ask(page, text)
        idle(page)
    told = page.locator(".message-tools small")
    expect(told).to_have_text(["42 tokens/s"] * 2)
    expect(told.first).to_have_attribute("title", "42 tokens/s · 6 new tokens")
    again = page.get_by_role("button", name="Answer again")
    expect(again).to_have_count(1)  # the last one has Retry
    again.click()
    expect(page.get_by_label("Version 2 of 2")).to_be_visible()
    idle(page)
    expect(page.locator(ASKED)).to_have_count(1)
    assert engines[-1].calls[-1]["messages"] == [{"role": "user", "content": "say: one"}]


@pytest.mark.parametrize(("whose", "done"), [("your message", "Send"), ("this reply", "Save")])
def test_one_editor_stands_in_the_place_of_a_message(site, open_page, whose, done):
    page = open_page(site)
    ask(page, "say: short")
    idle(page)
    button = page.get_by_role("button", name=f"Edit {whose}")
    row = page.locator("#chat .message-row").nth(int(whose == "this reply"))
    top = row.bounding_box()["y"]
    button.click()
    area = page.locator(".message-editor textarea")
    expect(area).to_be_focused()
    expect(area).to_have_value("say: short" if done == "Send" else "short")
    expect(row).to_be_hidden()
    box = page.locator(".message-editor").bounding_box()
    assert box["width"] > 650
    assert abs(box["y"] - top) < 40
    area.press("Escape")
    expect(row).to_be_visible()
    expect(button).to_be_focused()
    button.click()
    area.fill("say: a\nb")
    area.press("Shift+Enter")
    area.type("c")
    assert area.bounding_box()["height"] > 60
    expect(page.locator(".message-editor").get_by_role("button", name=done)).to_be_visible()
    area.press("Enter")
    expect(page.locator(".message-editor")).to_have_count(0)
    expect(row).to_contain_text("say: a")
    expect(row).to_contain_text("c")
