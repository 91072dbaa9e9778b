"""What is done by keys: the palette, the list of keys, a new chat."""

import pytest
from playwright.sync_api import expect

from tests.app.test_browser import ANSWER, ASKED, ask, idle

pytestmark = pytest.mark.browser


def test_the_palette_goes_to_pages_and_conversations_and_acts(site, open_page):
    page = open_page(site)
    ask(page, "say: about whales")
    idle(page)
    page.keyboard.press("ControlOrMeta+Shift+O")
    expect(page.locator(ASKED)).to_have_count(0)
    expect(page.locator("#prompt textarea")).to_be_focused()
    page.keyboard.press("ControlOrMeta+k")
    palette = page.get_by_role("dialog", name="Palette")
    field = palette.get_by_role("combobox")
    expect(field).to_be_focused()
    first = palette.get_by_role("option").first
    expect(first).to_have_attribute("aria-selected", "true")
    expect(field).to_have_attribute("aria-activedescendant", first.get_attribute("id"))
    page.keyboard.press("ArrowUp")  # round to the last
    expect(palette.get_by_role("option").last).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(first).to_have_attribute("aria-selected", "true")
    # the focus stays within; Esc gives it back, and stops nothing else
    for _ in range(3):
        page.keyboard.press("Tab")
        outside = "!['BODY', 'INPUT'].includes(document.activeElement.tagName)"
        assert not page.evaluate(outside)
    field.focus()
    page.keyboard.press("Escape")
    expect(palette).to_have_count(0)
    expect(page.locator("#prompt textarea")).to_be_focused()
    page.keyboard.press("ControlOrMeta+k")
    field.fill("whales")
    page.keyboard.press("Enter")
    expect(page.locator(ANSWER).last).to_have_text("about whales")
    page.keyboard.press("ControlOrMeta+k")
    field.fill("as markdown")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    assert waiting.value.suggested_filename == "say about whales.md"
    page.keyboard.press("ControlOrMeta+k")
    field.fill("models")
    palette.get_by_role("option", name="Models").click()
    expect(page.locator("#models")).to_be_visible()
    page.keyboard.press("ControlOrMeta+k")
    field.fill("no such thing")
    expect(palette.get_by_role("option")).to_have_text("Nothing found")
    page.keyboard.press("Enter")
    expect(palette).to_be_visible()


def test_the_keys_are_listed_and_both_dialogs_are_in_chinese(site, open_page):
    page = open_page(site, locale="zh-CN", width=390)
    page.keyboard.press("ControlOrMeta+/")
    keys = page.get_by_role("dialog", name="快捷键")
    expect(keys).to_contain_text("打开命令面板")
    page.keyboard.press("ControlOrMeta+k")  # one at a time
    expect(page.get_by_role("dialog")).to_have_count(1)
    palette = page.get_by_role("dialog", name="命令面板")
    palette.get_by_role("combobox").fill("模型")
    expect(palette.get_by_role("option").first).to_have_text("模型")
    box = palette.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    palette.get_by_role("combobox").fill("settings")  # English words are found, too
    page.keyboard.press("Enter")
    expect(page.locator("#settings")).to_be_visible()
    page.locator("#keys-button").click()
    expect(keys).to_be_visible()
    keys.get_by_role("button", name="关闭").click()
    expect(keys).to_have_count(0)
