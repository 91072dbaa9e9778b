"""Tools and JSON answers in a real browser."""

import json

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


def send(page, text):
    page.locator("#prompt textarea").fill(text)
    page.locator("#prompt textarea").press("Enter")


@pytest.fixture
def page(site, open_page):
    return developers(open_page(site))


def developers(page):
    """The page with the settings for developers unfolded."""
    fold = page.get_by_role("button", name="For developers")
    if not fold.is_visible():
        page.get_by_role("button", name="Settings").click()
    fold.click()
    return page


def test_a_tool_is_offered_called_as_a_card_and_answered(page, engines):
    page.evaluate("window.hacked = 0")
    page.get_by_label("Tools (a JSON list of functions)").fill('[{"name": "weather"}]')
    attack = "<img src=x onerror=hacked=1>"
    send(page, 'call: {"city": "' + attack + '"}')
    card = page.locator("#chat .thought-group").filter(has_text="Calls weather")
    expect(card).to_contain_text('"city"')
    expect(card).to_contain_text("onerror")
    expect(page.locator("#chat")).to_contain_text("Write what the tool gives")
    assert engines[-1].calls[-1]["tools"] == [{"name": "weather"}]
    send(page, "4 degrees")
    expect(page.locator("#chat")).to_contain_text("Result of weather")
    expect(page.locator("#chat")).to_contain_text("Echo: 4 degrees")
    expect(page.locator("#chat")).not_to_contain_text("Write what the tool gives")
    last = engines[-1].calls[-1]["messages"][-1]
    assert (last["role"], last["content"]) == ("tool", "4 degrees")
    assert page.locator("#chat img[src=x]").count() == 0
    assert page.evaluate("window.hacked") == 0


def test_tools_that_are_no_list_are_explained_and_the_next_answer_comes(page):
    tools = page.get_by_label("Tools (a JSON list of functions)")
    tools.fill("weather")
    tools.blur()
    expect(page.locator("#tools-wrong")).to_contain_text("Expected a JSON list of functions")
    expect(tools).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Answer in JSON").check()
    schema = page.get_by_label("JSON schema")
    schema.fill("[]")
    schema.blur()
    expect(page.locator("#schema-wrong")).to_contain_text("Expected a JSON object")
    page.get_by_label("Answer in JSON").uncheck()
    expect(page.locator("#schema-wrong [role=alert]")).to_have_count(0)
    send(page, "say: hi")
    expect(page.locator("#chat")).to_contain_text("Expected a JSON list of functions")
    tools.fill("")
    expect(page.locator("#tools-wrong [role=alert]")).to_have_count(0)
    send(page, "say: better")
    expect(page.locator("#chat [data-testid=bot]").last).to_contain_text("better")


def test_a_json_answer_is_asked_for_with_its_schema(page, engines):
    expect(page.get_by_label("JSON schema")).to_have_count(0)
    page.get_by_label("Answer in JSON").check()
    page.get_by_label("JSON schema").fill('{"type": "object"}')
    send(page, 'say: {"a": 1}')
    expect(page.locator("#chat [data-testid=bot]").last).to_contain_text('{"a": 1}')
    wanted = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    assert engines[-1].calls[-1]["response_format"] == wanted


def test_nano_answers_in_json_and_tells_how_long_it_thought(nano_site, open_page):
    page = developers(open_page(nano_site))
    page.get_by_label("Answer in JSON").check()
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
    page.get_by_label("JSON schema").fill(json.dumps(schema | {"additionalProperties": False}))
    send(page, "What is 347 + 586?")
    answer = page.locator("#chat [data-testid=bot]").last
    expect(answer).to_contain_text('"sum"')
    expect(page.locator("#stop-button")).to_have_count(0)
    assert isinstance(json.loads(answer.inner_text())["sum"], int)
    expect(page.locator("#chat .thought-group")).to_contain_text("tokens")
