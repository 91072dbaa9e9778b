"""Calls of tools in the chat: shown, asked about, run, and answered."""

import json

import pytest
from playwright.sync_api import expect

from mlx_deepseek_app.command import serve
from tests.app import scripted
from tests.app.test_browser import ANSWER, ASKED, ask, idle

pytestmark = pytest.mark.browser
SUM = 'use calculator: {"expression": "6 * 7"}'


def allow_tools(page):
    page.locator("#settings-button").click()
    page.get_by_label("Let the model call tools").check()
    page.locator("#settings-close").click()


def test_a_call_is_asked_about_run_and_answered(site, engines, open_page):
    page = open_page(site)
    allow_tools(page)
    ask(page, SUM)
    idle(page)
    assert {"calculator", "clock"} == {
        one["function"]["name"] for one in engines[-1].calls[-1]["tools"]
    }
    expect(page.locator("#chat")).to_contain_text("Calls calculator")
    assert len(engines[-1].calls) == 1  # nothing has run
    page.get_by_role("button", name="Run once").click()
    expect(page.locator(ANSWER).last).to_have_text("Echo: 42")
    asked, call, result = engines[-1].calls[-1]["messages"]
    assert asked == {"role": "user", "content": SUM}
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"expression": "6 * 7"}
    assert (result["role"], result["content"]) == ("tool", "42")
    ask(page, SUM)  # once was once
    idle(page)
    page.get_by_role("button", name="Don't run").click()
    expect(page.locator(ANSWER).last).to_contain_text("does not want this tool")
    ask(page, SUM)
    idle(page)
    page.get_by_role("button", name="Always in this chat").click()
    expect(page.locator(ANSWER).last).to_have_text("Echo: 42")
    idle(page)
    before = page.locator(ASKED).count()
    page.locator("#prompt textarea").fill(SUM)
    page.keyboard.press("Enter")
    expect(page.locator(ASKED)).to_have_count(before + 2)  # the question, and what the tool gave
    expect(page.locator(ANSWER).last).to_have_text("Echo: 42")
    expect(page.get_by_role("button", name="Run once")).to_have_count(0)


def test_a_tool_that_is_not_here_is_answered_by_hand(site, engines, open_page):
    page = open_page(site)
    allow_tools(page)
    ask(page, "call: {}")
    idle(page)
    expect(page.locator("#chat")).to_contain_text("Write what the tool gives")
    expect(page.get_by_role("button", name="Run once")).to_have_count(0)


def test_settings_kept_for_a_model_data_as_a_file_and_its_end(open_page, tmp_path):
    engine = scripted.load("scripted")
    served = serve(lambda source, **_: engine, "scripted", data=tmp_path)
    page = open_page(served)
    ask(page, "say: hello")
    idle(page)
    page.locator("#settings-button").click()
    page.get_by_role("button", name="More sampling").click()
    page.locator("#more-sampling input[type=number]").first.fill("0.25")
    page.get_by_label("Stop words").fill("END\n\nSTOP")
    page.get_by_role("button", name="Keep for this model").click()
    expect(page.locator("#kept-note")).to_contain_text("Kept")
    expect(page.locator("#data-where")).to_contain_text(str(tmp_path))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export everything").click()
    kept = json.loads(saved.value.path().read_text())
    assert [one["title"] for one in kept["conversations"]] == ["say: hello"]
    page.reload()
    page.locator("#new-button").click()
    ask(page, "say: again")
    idle(page)
    call = engine.calls[-1]
    assert (call["sampling"].min_p, call["stop"]) == (0.25, ("END", "STOP"))
    page.locator("#settings-button").click()
    page.get_by_role("button", name="Delete everything").click()
    page.get_by_role("button", name="Really delete everything?").click()
    expect(page.locator("#conversations li")).to_have_count(0)
    expect(page.locator(ANSWER)).to_have_count(0)
    page.close()
    served.close()
