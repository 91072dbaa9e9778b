"""The page in a real browser."""

import re
import time

import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.presets import PRESETS
from tests.app.conftest import wait_until

pytestmark = pytest.mark.browser

ANSWER = "#chat [data-testid=bot]"
ASKED = "#chat [data-testid=user]"
THOUGHT = "#chat .thought-group"


def ask(page, text):
    """Send a message; it is in the chat when this returns."""
    before = page.locator(ASKED).count()
    page.locator("#prompt textarea").fill(text)
    page.keyboard.press("Enter")
    expect(page.locator(ASKED)).to_have_count(before + 1)


def idle(page):
    expect(page.locator("#send-button")).to_be_visible()
    expect(page.locator("#stop-button")).to_have_count(0)


def test_nano_adds_with_a_visible_thinking_block(nano_site, open_page):
    page = open_page(nano_site)
    expect(page.locator("#chat .placeholder")).to_contain_text("A tiny DeepSeek-V3")
    page.get_by_text("What is 347 + 586?").click()
    expect(page.locator(ASKED)).to_have_text("What is 347 + 586?")
    idle(page)
    expect(page.locator(ANSWER).last).to_contain_text("933")
    thought = page.locator(THOUGHT)
    expect(thought).to_contain_text("Thought")
    expect(thought.locator(".content")).to_have_count(0)
    thought.locator("[role=button]").press("Enter")
    expect(thought).to_contain_text("7+6=13")
    expect(page.locator("#meter")).to_contain_text("tokens/s")
    expect(page.locator("#meter")).to_contain_text(re.compile(r"\d+ / 512"))


def test_thinking_is_open_while_it_lasts_and_folds_when_the_answer_starts(site, engines, open_page):
    page = open_page(site)
    engines[-1].step_s = 0.3
    ask(page, "say: done")
    expect(page.locator(THOUGHT)).to_contain_text("Let me")
    live = re.compile(r"Thinking for \d+\.\d s · \d tokens")
    expect(page.locator(THOUGHT)).to_contain_text(live)
    engines[-1].step_s = 0.01
    idle(page)
    expect(page.locator(THOUGHT)).to_have_text(re.compile(r"Thought for \d+\.\d s · 5 tokens"))
    expect(page.locator(THOUGHT)).not_to_contain_text("Let me")
    expect(page.locator(ANSWER).last).to_have_text("done")


def test_stop_is_quick_and_keeps_what_was_written(site, engines, open_page):
    page = open_page(site)
    ask(page, "slow")
    expect(page.locator(ANSWER).last).to_contain_text("tick")
    begin_s = time.monotonic()
    page.keyboard.press("Escape")
    assert engines[-1].closed.wait(2)
    assert time.monotonic() - begin_s < 0.5
    idle(page)
    expect(page.locator(ANSWER).last).to_have_text("Stopped.")
    assert "tick" in page.locator(ANSWER).nth(-2).inner_text()


def test_retry_and_edit(site, engines, open_page):
    page = open_page(site)
    ask(page, "say: a <b> & *c*")
    idle(page)
    calls = len(engines[-1].calls)
    page.get_by_label("Retry").click()
    wait_until(lambda: len(engines[-1].calls) == calls + 1)
    idle(page)
    assert engines[-1].calls[-1]["messages"] == [{"role": "user", "content": "say: a <b> & *c*"}]
    page.get_by_label("Edit", exact=True).click()
    box = page.locator("#chat textarea")
    expect(box).to_have_value("say: a <b> & *c*")
    box.fill("say: *new* <i>")
    page.get_by_label("Submit").click()
    wait_until(lambda: len(engines[-1].calls) == calls + 2)
    idle(page)
    assert engines[-1].calls[-1]["messages"] == [{"role": "user", "content": "say: *new* <i>"}]
    expect(page.locator(ASKED)).to_have_text("say: *new* <i>")


def test_nothing_that_is_written_runs_or_leaves_the_machine(site, open_page):
    page = open_page(site)
    page.evaluate("window.hacked = 0")
    attack = (
        "<img src=http://other.example/a.png onerror=hacked=1><script>hacked=1</script>"
        "![x](http://other.example/b.png)<svg onload=hacked=1>[y](javascript:hacked=1)\n\n"
        "- ```\n  x\n  ```\n<iframe src=http://other.example></iframe>\n\n"
        "```mermaid\ngraph TD; A[<img src=http://other.example/c.png>]\n```\n\n"
        "$$<img src=http://other.example/d.png>$$"
    )
    ask(page, f"say: {attack}")
    idle(page)
    page.wait_for_timeout(300)
    assert page.evaluate("window.hacked") == 0
    inside = page.locator("#chat .message-wrap")
    assert inside.locator("img, script, iframe, [onload], [onerror]").count() == 0
    assert inside.locator("a[href^=javascript]").count() == 0
    expect(page.locator(ASKED)).to_contain_text("<script>hacked=1</script>")


def test_code_maths_and_faithful_copies(site, open_page):
    page = open_page(site, permissions=["clipboard-read", "clipboard-write"])
    code = "print('<div>')"
    ask(page, f"say: Area \\(\\pi r^2\\), $5 and $6:\n\n```python\n{code}\n```")
    idle(page)
    answer = page.locator(ANSWER).last
    expect(answer.locator(".katex").first).to_be_visible()
    assert answer.locator(".katex").count() == 1
    expect(answer.locator("pre .token").first).to_be_visible()
    answer.get_by_title("copy").click()
    assert page.evaluate("navigator.clipboard.readText()").strip() == code
    page.get_by_label("Copy message").first.click()
    assert page.evaluate("navigator.clipboard.readText()").startswith(
        "say: Area \\(\\pi r^2\\), $5"
    )


def test_two_tabs_do_not_mix_and_the_second_waits(site, engines, open_page):
    first, second = open_page(site), open_page(site)
    ask(first, "slow one")
    expect(first.locator(ANSWER).last).to_contain_text("tick")
    ask(second, "say: two")
    expect(second.locator("#meter")).to_contain_text("Waiting for another reply")
    first.close()
    assert engines[-1].closed.wait(5)
    idle(second)
    expect(second.locator(ANSWER).last).to_have_text("two")
    assert "tick" not in second.locator("#chat").inner_text()


def test_an_error_is_readable_and_the_page_lives_on(site, open_page):
    page = open_page(site)
    ask(page, "fail")
    expect(page.locator(ANSWER).last).to_contain_text("needs 9 GiB, 4 GiB are free. Shorten it.")
    idle(page)
    ask(page, "say: fine")
    idle(page)
    expect(page.locator(ANSWER).last).to_have_text("fine")
    page.locator("#new-button").click()
    expect(page.locator(ANSWER)).to_have_count(0)


def test_settings_are_used_and_reset(site, engines, open_page):
    page = open_page(site)
    page.locator("#settings-button").click()
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Think before answering").uncheck()
    temperature = page.locator("#temperature input[type=number]")
    temperature.fill("0.7")
    seed = page.get_by_label("Seed")
    expect(seed).to_have_value("")
    ask(page, "say: x")
    idle(page)
    assert engines[-1].calls[-1]["sampling"].seed is None
    seed.fill("eleven")
    page.locator("#prompt textarea").fill("say: x")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The seed is eleven.")).to_be_visible()
    seed.fill("11")
    ask(page, "say: x")
    idle(page)
    call = engines[-1].calls[-1]
    assert call["messages"][0] == {"role": "system", "content": "Be brief."}
    assert call["thinking"] is False
    assert (call["sampling"].temperature, call["sampling"].seed) == (0.7, 11)
    expect(page.locator("#temperature")).to_contain_text("Recommended: 0")
    page.locator("#reset-button").click()
    expect(temperature).to_have_value("0")
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()


def test_choosing_a_model_and_one_that_cannot_be_loaded(site, open_page):
    page = open_page(site)
    page.locator("#settings-button").click()
    picker = page.locator("#picker input")
    for source, outcome in (("other", "other is loaded"), ("broken", "Could not load broken")):
        picker.fill(source)
        picker.press("Enter")
        expect(picker).to_have_value(source)
        page.locator("#load-button").click()
        expect(page.locator("#outcome")).to_contain_text(outcome)
        page.wait_for_timeout(1000)  # the last event of a load settles the picker
    expect(page.locator("#outcome")).to_contain_text("Download the checkpoint again.")
    expect(page.locator("#outcome")).to_contain_text("other is still loaded")
    expect(page.locator("#model-chip")).to_contain_text("other")
    ask(page, "say: still here")
    idle(page)
    expect(page.locator(ANSWER).last).to_have_text("still here")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_sideways_scrolling(site, open_page, scheme):
    page = open_page(site, width=360, height=740, color_scheme=scheme)
    ask(page, "say: " + "long " * 200)
    idle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.documentElement.scrollHeight") <= 740
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    page.locator("#settings-button").click()
    assert page.locator("#settings").bounding_box()["width"] == 360
    page.locator("#settings-close").click()
    page.locator("#theme-button").click()
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "light")


def test_a_wide_screen_keeps_lines_short(site, open_page):
    page = open_page(site, width=2560, height=1440)
    ask(page, "say: " + "word " * 200)
    idle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 2560
    assert page.locator(ANSWER).last.bounding_box()["width"] < 900
    assert page.locator("#composer").bounding_box()["width"] < 900
    page.get_by_role("tab", name="Models").click()
    expect(page.locator("#models .card").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 2560


def test_a_preset_fills_the_system_prompt_and_ones_own_words_are_no_preset(site, open_page):
    page = open_page(site)
    page.locator("#settings-button").click()
    preset, system = page.locator("#preset input"), page.locator("#system textarea")
    expect(preset).to_have_value("none")
    preset.click()
    page.get_by_role("option", name="editor").click()
    expect(system).to_have_value(PRESETS["editor"])
    expect(preset).to_have_value("editor")
    system.fill("Be kind.")
    expect(preset).to_have_value("")
    system.fill("")
    expect(preset).to_have_value("none")
