"""Every page under axe-core in both themes, and a run of the app without a mouse."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from tests.app.test_browser import ANSWER, ask, idle

pytestmark = pytest.mark.browser

SOURCE = "painter"
AXE = (
    Path(__file__).parent / "axe" / "axe.min.js"
)  # of Deque Systems, MPL-2.0: the licence is there
ANSWERED = """say: # Title

1. one

| a | b |
|-|-|
| 1 | 2 |

```html
<b>bold</b>
```

$x^2$ [link](https://example.org)"""
SEEN = """(one) => [getComputedStyle(one.closest(".cm-editor") ?? one).outlineStyle,
  one.getBoundingClientRect().width]"""
# code is darkened by a filter, which axe-core does not see
FOUND = """async (options) => (await axe.run({ exclude: [".cm-line"] }, options)).violations
  .filter(({ impact }) => ["serious", "critical"].includes(impact))
  .map(({ id, nodes }) => [id, nodes.length, ...nodes.slice(0, 3).map(
    ({ target, any }) => `${target} ${any[0]?.message ?? ""}`)])"""


@pytest.fixture
def every_page(able_site, engine):
    """A site over an engine that has all pages."""
    engine.fills, engine.modes = True, ("tiny", "base")
    engine.entry = SimpleNamespace(
        family="Prover", skills=("proofs",), sampling=None, params_total=0
    )
    return able_site


def violations(page):
    """What axe-core finds to be serious or critical; the dark theme differs in its colours."""
    if page.evaluate("typeof axe") == "undefined":
        page.add_script_tag(path=AXE)
    found = {}
    for theme, rules in (("dark", {"runOnly": ["color-contrast"]}), ("light", {})):
        page.emulate_media(color_scheme=theme)
        is_dark = "document.body.classList.contains('dark')"
        page.wait_for_function(f"{is_dark} === {str(theme == 'dark').lower()}")
        found[theme] = page.evaluate(FOUND, rules)
    return {theme: one for theme, one in found.items() if one}


def test_no_page_has_a_serious_violation(every_page, open_page):
    page = open_page(every_page, reduced_motion="reduce")
    found = {"empty chat": violations(page)}
    ask(page, ANSWERED)
    idle(page)
    found["chat"] = violations(page)
    page.locator("#conversations [data-act=more]").first.click()
    page.get_by_role("button", name="Move to folder").click()
    page.get_by_role("button", name="New folder").click()
    page.keyboard.type("Work")
    page.keyboard.press("Enter")
    expect(page.locator("section[data-folder=Work]")).to_be_visible()
    page.get_by_label("Search conversations").fill("bold")
    expect(page.locator("#conversations mark").first).to_be_visible()
    page.locator("#conversations li [data-act=more]").click()
    found["list"] = violations(page)
    for keys in ("ControlOrMeta+k", "ControlOrMeta+/"):
        page.keyboard.press(keys)
        expect(page.get_by_role("dialog")).to_be_visible()
        found[keys] = violations(page)
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear the search").click()
    page.locator(".menu-button").click()
    page.locator("#settings-button").click()
    page.get_by_text("For developers").click()
    found["settings"] = violations(page)
    page.locator("#settings-close").click()
    names = page.locator("#nav a").evaluate_all("links => links.map((one) => one.dataset.page)")
    assert len(names) > 8
    for name in names:
        page.evaluate("(name) => { location.hash = name; }", name)
        expect(page.locator(f"#page-{name}")).to_be_visible()
        page.wait_for_timeout(200)
        found[name] = violations(page)
    wrong = {name: one for name, one in found.items() if one}
    assert not wrong, json.dumps(wrong, indent=1)


def tab_to(page, wanted, key="Tab"):
    """Press `key` until an element that matches `wanted` has the focus, which must be seen."""
    for _ in range(80):
        page.keyboard.press(key)
        now = page.locator(":focus")
        if now.count() and now.evaluate("(one, wanted) => one.matches(wanted)", wanted):
            outline, width = now.evaluate(SEEN)
            assert width > 0
            assert outline != "none" or wanted == "#prompt textarea"
            return
    pytest.fail(f"{wanted} is never reached")


def test_the_app_is_used_without_a_mouse(every_page, engine, open_page):
    page = open_page(every_page)
    page.keyboard.type("slow")
    page.keyboard.press("Enter")
    expect(page.locator(ANSWER).last).to_contain_text("tick")
    tab_to(page, "#stop-button")
    page.keyboard.press("Enter")
    idle(page)
    expect(page.locator(ANSWER).last).to_have_text("Stopped.")
    tab_to(page, "#conversations [data-act=more]", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#conversations [data-act=rename]")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.type("Renamed")
    page.keyboard.press("Enter")
    expect(page.locator("#conversations")).to_contain_text("Renamed")
    tab_to(page, "#new-button", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#prompt textarea")).to_be_focused()
    expect(page.locator("#hero")).to_be_visible()
    tab_to(page, ".menu-button")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Search models")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".menu-button")).to_be_focused()
    tab_to(page, "#nav [data-page=code]", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#code-go")).to_be_visible()
    tab_to(page, "#code-before .cm-content")
    for name in ("filled", "after"):
        page.keyboard.press("Escape")  # Tab indents before it
        tab_to(page, f"#code-{name} .cm-content")
    page.keyboard.press("Escape")
    tab_to(page, "#settings-button", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#settings-close")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    expect(page.locator("#settings-button")).to_be_focused()
