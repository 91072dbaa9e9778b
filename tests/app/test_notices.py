"""A notification when something long ends and the tab is out of sight, for who asked for it."""

import pytest
from playwright.sync_api import expect

from tests.app.test_browser import ANSWER, ask, idle

pytestmark = pytest.mark.browser

# what is asked of the browser, and a clock that is put forward by hand
STUB = """(permission) => {
  window.told = [];
  window.hiddenNow = false;
  window.later = 0;
  window.Notification = class {
    static permission = "default";
    static async requestPermission() { return (this.permission = permission); }
    constructor(title, { body }) { told.push([title, body]); }
  };
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hiddenNow });
  Date.now = () => later;
}"""


def test_a_long_answer_is_told_where_it_was_asked_for_and_nobody_looks(site, open_page):
    page = open_page(site)
    page.evaluate(STUB, "granted")

    def answered(hidden, later):
        """A long answer, after which what was told is read."""
        ask(page, "slow")
        expect(page.locator(ANSWER).last).to_contain_text("tick")
        page.evaluate("([hidden, later]) => { hiddenNow = hidden; window.later += later; }",
                      [hidden, later])  # fmt: skip
        page.keyboard.press("Escape")
        idle(page)
        page.evaluate("hiddenNow = false")
        return page.evaluate("told.splice(0)")

    assert answered(hidden=True, later=60_000) == []  # nobody asked for it
    page.locator("#settings-button").click()
    page.get_by_role("button", name="Notify me").click()
    expect(page.get_by_role("button", name="Notify me")).to_have_attribute("aria-pressed", "true")
    page.locator("#settings-close").click()
    assert answered(hidden=True, later=60_000) == [["The answer is there", "slow"]]
    assert answered(hidden=False, later=60_000) == []
    assert answered(hidden=True, later=0) == []


def test_what_the_browser_forbids_is_said(site, open_page):
    page = open_page(site)
    page.evaluate(STUB, "denied")
    page.locator("#settings-button").click()
    page.get_by_role("button", name="Notify me").click()
    expect(page.locator("#notify-note")).to_contain_text("does not allow it")
    expect(page.get_by_role("button", name="Notify me")).to_have_attribute("aria-pressed", "false")
