"""Attempts to run scripts or reach other machines, wherever text comes onto the page."""

import pytest
from playwright.sync_api import expect

from tests.app.test_browser import ANSWER, ask, choose, idle

pytestmark = pytest.mark.browser

RUN = "window.hacked=1"
ATTACKS = (
    f"<script>{RUN}</script>",
    f"<SCRIPT SRC=data:text/javascript,{RUN}></SCRIPT>",
    f"<img src=x onerror={RUN}>",
    f'"><img src=x onerror="{RUN}">',
    f"<svg/onload={RUN}>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<svg><script>{RUN}</script></svg>",
    f"<math><mi//xlink:href='data:x,<script>{RUN}</script>'>",
    f"<body onload={RUN}>",
    f"<iframe src=javascript:{RUN}></iframe>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<object data=javascript:{RUN}></object>",
    f"<embed src=javascript:{RUN}>",
    f"<details open ontoggle={RUN}>x</details>",
    f"<input autofocus onfocus={RUN}>",
    f"<video><source onerror={RUN}></video>",
    f"<marquee onstart={RUN}>x</marquee>",
    f"<style>@import 'javascript:{RUN}';</style>",
    "<style>*{background:url(http://other.example/style)}</style>",
    "<link rel=stylesheet href=http://other.example/link.css>",
    "<meta http-equiv=refresh content='0;url=http://other.example/meta'>",
    "<base href=http://other.example/>",
    f"<form action=javascript:{RUN}><button>x</button></form>",
    f"<a href=javascript:{RUN}>x</a>",
    f"[x](javascript:{RUN})",
    f"[x](JaVaScRiPt&colon;{RUN})",
    f"[x](data:text/html;base64,PHNjcmlwdD4=){RUN}",
    f"[x](vbscript:{RUN})",
    "![x](http://other.example/markdown.png)",
    "![x][1]\n\n[1]: http://other.example/reference.png",
    f'![x](x"onerror="{RUN})',
    f"<<script>script>{RUN}<</script>/script>",
    f"<scr\u0000ipt>{RUN}</scr\u0000ipt>",
    f"\u2028<img\u2028src=x\u2028onerror={RUN}>",
    f"`` ` ``<img src=x onerror={RUN}>``",
    f"```html\n```<img src=x onerror={RUN}>\n```",
    f"$$\\href{{javascript:{RUN}}}{{x}}$$",
    "$$\\includegraphics{http://other.example/maths.png}$$",
    f"\\(\\htmlData{{x=<img src=x onerror={RUN}>}}{{y}}\\)",
    f"```mermaid\ngraph TD; A[<img src=x onerror={RUN}>]\n```",
    f"{{{{constructor.constructor('{RUN}')()}}}}",
    f"${{{RUN}}}",
)
LIVE = "script, iframe, object, embed, [onload], [onerror], [onfocus], [ontoggle], [onbegin]"


@pytest.fixture
def safe(open_page):
    """Opens a page on which anything that runs, or is fetched from elsewhere, is a failure."""

    def opened(site):
        page = open_page(site)
        page.evaluate("window.hacked = 0")
        return page

    return opened


def unharmed(page):
    page.wait_for_timeout(500)
    assert page.evaluate("window.hacked") == 0
    inside = page.locator("#chat .message-wrap, #conversations, #compare, #model-menu, #models")
    assert inside.locator(LIVE).count() == 0
    assert inside.locator("img[src^='http'], a[href^='javascript' i]").count() == 0


@pytest.mark.parametrize("part", range(2))
def test_prompts_answers_and_titles_do_nothing(site, safe, part):
    page = safe(site)
    for attack in ATTACKS[part::10]:  # the first becomes the title, too
        page.locator("#new-button").click()
        expect(page.locator(ANSWER)).to_have_count(0)
        ask(page, f"say: {attack}")
        idle(page)
        unharmed(page)
    ask(page, "say: " + "\n\n".join(ATTACKS))
    idle(page)
    unharmed(page)


def test_thoughts_and_system_prompts_do_nothing(site, engines, safe):
    page = safe(site)
    page.locator("#settings-button").click()
    page.get_by_label("System prompt").fill("\n".join(ATTACKS))
    ask(page, "say: fine")
    idle(page)
    assert engines[-1].calls[-1]["messages"][0]["content"].count("onerror") > 5
    unharmed(page)


def test_compared_answers_models_names_and_edited_replies_do_nothing(site, engines, safe):
    page = safe(site)
    ask(page, "say: fine")
    idle(page)
    page.get_by_label("Edit this reply").click()
    page.locator(".message-editor textarea").fill("\n\n".join(ATTACKS))
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_label("Version 2 of 2")).to_be_visible()
    unharmed(page)
    page.locator("#settings-button").click()
    choose(page, ATTACKS[3])
    expect(page.locator("#loads")).to_contain_text("is in memory")
    page.locator("#nav").get_by_role("link", name="Compare").click()
    page.get_by_label("Prompt for both").fill("say: " + "\n\n".join(ATTACKS))
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#compare-right")).to_contain_text("tokens/s")
    expect(page.locator("#compare-go")).to_be_visible()
    page.locator("#nav").get_by_role("link", name="Models").click()
    expect(page.locator("#models-room")).to_contain_text(ATTACKS[3])
    unharmed(page)
