"""The page in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.storage.presets import PRESETS
from tests.waiting import wait_until

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


def to_page(page, name):
    """Follow a link of the column, which is a drawer on phones."""
    if page.locator("#drawer-button").is_visible():
        page.locator("#drawer-button").click()
    page.locator("#nav").get_by_role("link", name=name, exact=True).click()


def choose(page, source):
    """Load a model by what is typed into the menu beside the message box."""
    page.locator(".menu-button").click()
    page.get_by_label("Search models").fill(source)
    page.keyboard.press("Enter")


def idle(page):
    expect(page.locator("#send-button")).to_be_visible()
    expect(page.locator("#stop-button")).to_have_count(0)


def test_nano_adds_with_a_visible_thinking_block(nano_site, open_page):
    page = open_page(nano_site)
    expect(page.locator("#hero")).to_contain_text("A tiny DeepSeek-V3")
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


def test_stop_ends_the_engines_work_and_keeps_what_was_written(site, engines, open_page):
    page = open_page(site)
    ask(page, "slow")
    expect(page.locator(ANSWER).last).to_contain_text("tick")
    expect(page.locator(f"{ANSWER} .caret")).to_be_visible()
    page.keyboard.press("Escape")
    assert engines[-1].closed.wait(60)
    idle(page)
    expect(page.locator(f"{ANSWER} .caret")).to_have_count(0)
    expect(page.locator(ANSWER).last).to_have_text("Stopped.")
    assert "tick" in page.locator(ANSWER).nth(-2).inner_text()


def test_there_are_dots_until_the_first_word_and_the_draft_of_the_next_message_stays(
    site, engines, open_page
):
    page = open_page(site)
    engines[-1].step_s = 1.5
    ask(page, "say: done")
    expect(page.locator(f"{ANSWER} .dots")).to_be_visible()
    page.locator("#prompt textarea").fill("a draft")
    engines[-1].step_s = 0.01
    idle(page)
    expect(page.locator(ANSWER).last).to_have_text("done")
    expect(page.locator("#chat .dots")).to_have_count(0)
    expect(page.locator("#prompt textarea")).to_have_value("a draft")


def test_the_column_stands_on_every_page_and_pages_have_addresses(site, open_page):
    page = open_page(site)
    ask(page, "say: kept")
    idle(page)
    chat = page.evaluate("location.hash")
    assert re.fullmatch(r"#chat/\w+", chat)
    link = page.locator("#nav").get_by_role("link", name="Compare")
    link.click()
    expect(link).to_have_attribute("aria-current", "page")
    page.locator("#settings-button").click()
    expect(page.locator("#settings")).to_be_visible()
    expect(page.locator("#compare-go")).to_be_visible()
    page.locator("#settings-close").click()
    page.go_back()
    expect(page.locator(ANSWER).last).to_have_text("kept")
    page.locator("#new-button").click()
    expect(page.locator("#hero")).to_be_visible()
    assert page.evaluate("location.hash") == "#chat"
    page.go_back()
    expect(page.locator(ANSWER).last).to_have_text("kept")
    page.locator("#sidebar-button").click()
    expect(page.locator("#sidebar")).to_have_css("width", "56px")
    link.click()
    page.reload()
    expect(page.locator("#compare-go")).to_be_visible()
    expect(page.locator("#sidebar")).to_have_css("width", "56px")


def test_a_question_before_the_page_has_loaded_gets_the_models_own_settings(
    site, engines, open_page
):
    page = open_page(site, ready="#prompt textarea")
    page.locator("#prompt textarea").fill("say: early")
    page.keyboard.press("Enter")
    expect(page.locator(ANSWER).last).to_have_text("early")
    call = engines[-1].calls[-1]
    assert call["max_tokens"] in (None, 2048)
    assert call["sampling"].top_p in (None, 1.0)


def test_retry_and_edit(site, engines, open_page):
    page = open_page(site)
    ask(page, "say: a <b> & *c*")
    wait_until(lambda: len(engines[-1].calls) == 1)  # or an answer to come would be the retry's
    idle(page)
    page.get_by_label("Retry").click()
    wait_until(lambda: len(engines[-1].calls) == 2)
    idle(page)
    assert engines[-1].calls[-1]["messages"] == [{"role": "user", "content": "say: a <b> & *c*"}]
    page.get_by_label("Edit your message").click()
    box = page.locator(".message-editor textarea")
    expect(box).to_have_value("say: a <b> & *c*")
    box.fill("say: *new* <i>")
    page.locator(".message-editor").get_by_role("button", name="Send").click()
    wait_until(lambda: len(engines[-1].calls) == 3)
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
    answer.get_by_title("Copy code").click()
    assert page.evaluate("navigator.clipboard.readText()").strip() == code
    page.get_by_label("Copy this reply").click()  # the answer, without its thinking
    wanted = f"Area \\(\\pi r^2\\), $5 and $6:\n\n```python\n{code}\n```"
    assert page.evaluate("navigator.clipboard.readText()") == wanted
    page.get_by_label("Copy this message").click()
    assert page.evaluate("navigator.clipboard.readText()") == f"say: {wanted}"


def test_two_tabs_are_answered_side_by_side_and_do_not_mix(site, engines, open_page):
    first, second = open_page(site), open_page(site)
    ask(first, "slow one")
    expect(first.locator(ANSWER).last).to_contain_text("tick")
    ask(second, "say: two")
    idle(second)
    expect(second.locator(ANSWER).last).to_have_text("two")
    assert "tick" not in second.locator("#chat").inner_text()
    engines[-1].closed.clear()
    first.close()
    assert engines[-1].closed.wait(60)


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
    page.locator("#think label").click()
    temperature = page.locator("#temperature input[type=number]")
    temperature.fill("0.7")
    seed = page.get_by_label("Seed")
    expect(seed).to_have_value("")
    ask(page, "say: x")
    idle(page)
    assert engines[-1].calls[-1]["sampling"].seed is None
    # what is wrong is marked where it stands when the field is left; a message stays in its box
    seed.fill("eleven")
    page.locator("#prompt textarea").fill("say: x")
    expect(page.locator("#seed-wrong [role=alert]")).to_contain_text("The seed is eleven.")
    expect(seed).to_have_attribute("aria-invalid", "true")
    page.keyboard.press("Enter")
    expect(page.locator("#meter .note")).to_contain_text("The seed is eleven.")
    expect(page.locator("#prompt textarea")).to_have_value("say: x")
    assert page.locator(".toast-body").count() == 0
    seed.fill("11")
    expect(page.locator("#seed-wrong [role=alert]")).to_have_count(0)
    expect(seed).to_have_attribute("aria-invalid", "false")
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
    for source, outcome in (("other", "other is in memory"), ("broken", "Could not load broken")):
        choose(page, source)
        expect(page.locator("#loads")).to_contain_text(outcome)
        expect(page.locator(".menu-button")).to_contain_text("other")
    expect(page.locator("#loads")).to_contain_text("Download the checkpoint again.")
    expect(page.locator("#loads")).to_contain_text("other is still loaded")
    page.locator("#loads").get_by_role("button", name="Close").click()
    expect(page.locator("#loads")).to_be_hidden()
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
    page.locator("#drawer-button").click()
    page.locator("#settings-button").click()
    assert page.locator("#settings").bounding_box()["width"] == 360
    page.locator("#settings-close").click()
    page.locator("#drawer-button").click()
    for theme in ("light", "dark", scheme):  # the last is the system's
        page.locator("#theme-button").click()
        assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")


def test_a_wide_screen_keeps_lines_short(site, open_page):
    page = open_page(site, width=2560, height=1440)
    ask(page, "say: " + "word " * 200)
    idle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 2560
    assert page.locator(ANSWER).last.bounding_box()["width"] < 900
    assert page.locator("#composer").bounding_box()["width"] < 900
    page.locator("#nav").get_by_role("link", name="Models").click()
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
