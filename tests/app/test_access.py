"""Names for those who hear the page, and keys for those who do not point, in a real browser."""

import pytest
from playwright.sync_api import expect

from tests.app.test_browser import ANSWER, THOUGHT, ask, idle

pytestmark = pytest.mark.browser

# what can be used or looked at; such a thing without a name is only noise
NAMED = {
    "button", "textbox", "searchbox", "combobox", "checkbox", "radio", "slider", "spinbutton",
    "tab", "link", "option", "menuitem", "image", "img", "progressbar"
}  # fmt: skip
SOURCE = "eyes"
TABS = ("Pictures", "Documents", "Code", "Models", "Compare", "Under the hood")
SHOW = "function() { return this.outerHTML.slice(0, 200); }"
# what the keys have come to, as a test can tell it from others
FOCUSED = """() => {
  const one = document.activeElement;
  return one === document.body ? "" : one.id || one.getAttribute("aria-label") || one.outerHTML;
}"""
REACHABLE = """() => [...document.querySelectorAll(
  "button, input, textarea, select, summary, a[href], [tabindex='0']")].filter((one) =>
  one.checkVisibility({ visibilityProperty: true }) && !one.disabled && one.tabIndex >= 0
  && !one.closest("[aria-hidden=true]") && one.getBoundingClientRect().width > 1).length"""


def nameless(page):
    """Controls and pictures of the accessibility tree that have no name, as HTML."""
    session = page.context.new_cdp_session(page)
    found = []
    for node in session.send("Accessibility.getFullAXTree")["nodes"]:
        named = node.get("name", {}).get("value", "").strip()
        if not node["ignored"] and node.get("role", {}).get("value") in NAMED and not named:
            where = {"backendNodeId": node["backendDOMNodeId"]}
            thing = session.send("DOM.resolveNode", where)["object"]["objectId"]
            asked = {"objectId": thing, "functionDeclaration": SHOW}
            found.append(session.send("Runtime.callFunctionOn", asked)["result"]["value"])
    return found


def test_every_control_of_every_page_has_a_name(able_site, engine, open_page):
    engine.fills = True
    page = open_page(able_site)
    ask(page, "say: hello\n\n```python\nx = 1\n```")
    idle(page)
    page.locator("#settings-button").click()
    page.locator("#conversations [data-act=more]").first.click()
    page.get_by_label("Edit this reply").click()
    for name in TABS:
        page.locator("#nav").get_by_role("link", name=name, exact=True).click()
        page.wait_for_timeout(300)  # what is drawn anew
        assert nameless(page) == [], name


def test_a_whole_conversation_by_keys_alone(site, open_page):
    page = open_page(site)
    expect(page.locator("#prompt textarea")).to_be_focused()
    page.keyboard.type("say: hello")
    page.keyboard.press("Enter")
    idle(page)
    expect(page.locator(ANSWER).last).to_have_text("hello")
    page.locator(THOUGHT).get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(page.locator(THOUGHT)).to_contain_text("Let me think")
    page.locator("#settings-button").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#settings-close")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#settings-button")).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("slow")
    page.keyboard.press("Enter")
    expect(page.locator(ANSWER).last).to_contain_text("tick")
    page.keyboard.press("Escape")
    idle(page)
    page.locator("#nav").get_by_role("link", name="Models").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Find a model")).to_be_visible()


@pytest.mark.parametrize("tab", ["Chat", "Compare", "Models"])
def test_the_tab_key_comes_to_every_control_and_is_never_caught(site, open_page, tab):
    page = open_page(site)
    if tab == "Chat":
        page.locator("#settings-button").click()
    else:
        page.locator("#nav").get_by_role("link", name=tab, exact=True).click()
    if tab == "Models":
        expect(page.locator("#models .card").nth(5)).to_be_visible()
        page.get_by_label("Find a model").fill("v2-lite")
        expect(page.locator("#models .card").first).to_contain_text("Lite")
    page.wait_for_timeout(500)
    there = page.evaluate(REACHABLE)
    page.locator("#sidebar-button").focus()  # the first
    places = {page.evaluate(FOCUSED)}
    ends, place = 0, ""
    for _ in range(2 * there + 10):
        page.keyboard.press("Tab")
        if place := page.evaluate(FOCUSED):
            places.add(place)
        elif (ends := ends + 1) == 2:
            break  # once around; the other time is Gradio's dropdown, whose list goes as one leaves
    else:
        pytest.fail(f"caught at {place}")
    wanted = {"sidebar-button", "language-button", "theme-button", "settings-button"}
    wanted |= {
        "Chat": {"new-button", "send-button", "Message", "settings-close", "preset-save"},
        "Compare": {"compare-go"},
        "Models": {"Get DeepSeek-V2-Lite-Chat", "Recipe for DeepSeek-V2-Lite-Chat"},
    }[tab]
    assert wanted <= places
