"""Untrusted text becomes HTML that only shows it: by its text here, by a real browser below."""

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import expect

from mlx_deepseek_app.widgets.markdown import DISPLAY, INLINE, code_html, model_html, user_html
from tests.app import scripted
from tests.app.test_attacks import ATTACKS
from tests.app.test_browser import ASKED, idle
from tests.breadth import examples

TAGS = {
    "a", "b", "blockquote", "br", "button", "code", "del", "div", "em", "h1", "h2", "h3", "h4",
    "h5", "h6", "hr", "kbd", "li", "ol", "p", "pre", "s", "span", "strong", "sub", "sup", "table",
    "tbody", "td", "th", "thead", "tr", "ul"
}  # fmt: skip
ATTRIBUTES = {"class", "dir", "href", "rel", "start", "style", "target", "title", "type"}
MARKS = "<>!`~$\\()[]{}|_*#-+=&:;/\"'ab1 \t\n\x00\ufdd0\ufdd1\u2028设。"
PIECES = ("<img src=x>", "![x](http://o/x.png)", "$$", "\\(", "\\)", "\\[", "\\]", "```", "](")


class Tags(HTMLParser):
    """Tags, attributes and text of HTML."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self.links = set(), set(), "", []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name in ("href", "src", "action")]
        self.text += "\n" if tag == "br" else ""

    def handle_data(self, data):
        self.text += data


def formulas(shown):
    """The formulas in HTML, each with its delimiters, as KaTeX gets them."""
    text = Tags(shown).text
    ends = "|".join(f"{left}.*?{right}" for left, right in (INLINE, DISPLAY))
    return [(one[0] == DISPLAY[0], one[1:-1]) for one in re.findall(ends, text, re.DOTALL)]


@given(st.text())
@settings(deadline=None)
def test_a_users_text_is_shown_character_by_character(text):
    kept = re.sub("[\ufdd0-\ufdd3\0]", "\ufffd", text)
    shown = re.sub("</?div[^>]*>|<button.*?</button>", "", user_html(text))
    assert html.unescape(shown) == kept
    assert not re.search(r"[<>{}$%\\\n]", shown)


@given(st.text(MARKS) | st.lists(st.sampled_from((*PIECES, "a", " ", "\n"))).map("".join))
@settings(deadline=None, max_examples=300)
def test_a_models_text_has_the_renderers_own_tags_and_no_others(text):
    shown = Tags(model_html(text))
    assert shown.tags <= TAGS
    assert shown.attributes <= ATTRIBUTES
    assert all(re.match("(?i)https?://|mailto:", link) for link in shown.links)
    blocks = model_html(text).split("\n\n")
    assert not any("\n" in block for block in blocks)  # an empty line would end a block of HTML


@given(st.text(MARKS), st.sampled_from(["python", "json", "html", "diff", "", "no such"]))
@settings(deadline=None)
def test_code_keeps_every_character(code, language):
    kept = re.sub("[\ufdd0-\ufdd3\0]", "\ufffd", code.rstrip("\n"))
    shown = Tags(code_html(code, language)).text.removeprefix(language)
    assert shown.replace("\r\n", "\n") == kept.replace("\r\n", "\n")


@pytest.mark.parametrize("attack", ATTACKS)
def test_known_attacks_have_no_tags_of_their_own(attack):
    shown = Tags(model_html(attack))
    assert shown.tags <= TAGS
    assert shown.attributes <= ATTRIBUTES
    assert not any("javascript" in link.lower() for link in shown.links)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"\(x^2\)", [(False, "x^2")]),
        ("$x^2$ and $y$.", [(False, "x^2"), (False, "y")]),
        (r"\[a<b\]", [(True, "a<b")]),
        ("$$a\n+b$$", [(True, "a\n+b")]),
        ("$$\na\n\n\\\\[4pt] b\n$$", [(True, "a\n\n\\\\[4pt] b")]),
        (r"\[ \boxed{\$18} \]", [(True, r"\boxed{\$18}")]),
        ("设$x=1$，则$y=2$。", [(False, "x=1"), (False, "y=2")]),
        ("x\n\n    $ cd $HOME$USER\n", []),
        ("- a\n\n  $$\n  x\n  $$\n- b", [(True, "x")]),
        (r"$a\\)![x](/evil.png)b$", [(False, r"a\\)![x](/evil.png)b")]),
        ("$![$", [(False, "![")]),
        (r"$a_1$ *b* $c_2 * d$", [(False, "a_1"), (False, "c_2 * d")]),
        ("$5 and $10", []),
        ("costs $5, not $6", []),
        ("US$5 to US$7", []),
        (r"a \$x$ b", []),
        ("`$x$` and ```$y$```", []),
        (r"\(a", []),
        ("$}$ and ${a}$", [(False, "{a}")]),
        ("| a | b |\n|-|-|\n| $x$ | \\(y\\) |", [(False, "x"), (False, "y")]),
    ],
)
def test_formulas_are_found_as_katex_finds_them_and_kept_to_the_letter(text, found):
    assert formulas(model_html(text)) == found


@given(st.text(alphabet="abxy12 +-=^_{}<>&!*`~[]()|\\,.设", max_size=30))
@settings(deadline=None)
def test_a_formula_comes_through_to_the_letter_or_stays_text(body):
    shown = model_html(f"a $${body}$$ b")
    for _, formula in formulas(shown):
        assert formula in body
    assert "img" not in Tags(shown).tags


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (r"is \(x", "is …"),
        ("is \\", "is …"),
        ("is $x^2", "is …"),
        ("a\n\n$$\nx\n", "a\n\n…"),
        ("a\n\n\\[\n\\frac{1}", "a\n\n…"),
        ("- a $\\alpha", "a …"),
        (r"\(a\) \[ c", f"{INLINE[0]}a{INLINE[1]} …"),
        ("costs $5 and", "costs $5 and"),
        ("echo $PATH" + " and more" * 10, "echo $PATH" + " and more" * 10),
        (r"`\(x` and *b*", r"\(x and b"),
        ("```\n\\(x\n", r"\(x"),
        (r"\(x" + "\n\nnext", "(x\n\nnext"),
    ],
)
def test_a_formula_that_is_being_written_is_a_sign_until_it_is_whole(text, shown):
    assert Tags(model_html(text, True)).text == shown
    assert "…" not in model_html(text)


@given(st.text(MARKS) | st.lists(st.sampled_from((*PIECES, "a", " ", "\n"))).map("".join))
def test_a_text_that_is_being_written_has_no_other_tags(text):
    assert Tags(model_html(text, True)).tags <= TAGS


def test_long_texts_of_ones_own_are_folded_and_short_ones_are_not():
    for text in ("x\n" * 12, "x" * 1600):
        assert "folded" in user_html(text)
        assert "Show all" in user_html(text)
    assert "folded" not in user_html("x\n" * 11)


def test_lists_tables_tasks_links_and_the_few_tags():
    shown = model_html(
        "# Title\n\n1. one\n   - [x] done\n   - [ ] open\n\n| a | b |\n|:-:|--:|\n"
        "| 1<br>2 | H<sub>2</sub> |\n\n"
        "see https://a.example/x. ~~old~~ ![a cat](http://b.example/cat.png) [top](#top)"
    )
    assert '<h1 dir="auto">Title</h1>' in shown
    assert '<span class="task-box done">☑</span> done' in shown
    assert '<span class="task-box">☐</span> open' in shown
    assert "1<br>2" in shown
    assert "<sub>2</sub>" in shown
    assert 'href="https://a.example/x"' in shown
    assert "<s>old</s>" in shown
    assert 'href="http://b.example/cat.png"' in shown
    assert ">a cat</a>" in shown
    assert "[top](#top)" in shown
    assert 'rel="noopener noreferrer"' in shown


def test_what_is_written_without_marks_is_changed_nowhere():
    text = "Grüße, 6 ÷ 2 = 3; a_b_c and 2 * 3 * 4? <5 & >3. \\d+ stays \\ like this: {x} %d {{y}}"
    assert Tags(model_html(text)).text == text


# -- in a real browser ---------------------------------------------------------------------------


ALIVE = """() => {
  const inside = document.querySelector("#chat .message-wrap");
  const live = "img, script, iframe, object, embed, form, style, link, [onload], [onerror]";
  const links = [...inside.querySelectorAll("a")].map((one) => one.getAttribute("href"));
  return { alive: inside.querySelectorAll(live).length + (window.hacked ?? 0),
           links: links.filter((one) => !/^(https?:\\/\\/|mailto:)/i.test(one)) };
}"""


@pytest.fixture(scope="module")
def shown_by_the_page(browser, server):
    """What the page makes of a model's text."""
    served, _ = server
    served.service.engine, served.service.source = scripted.load("scripted"), "scripted"
    page = browser.contexts[0].new_page()
    page.goto(served.url)
    page.wait_for_selector("#suggestions li")

    def shown(text):
        page.locator("#new-button").click()
        expect(page.locator(ASKED)).to_have_count(0)
        page.locator("#prompt textarea").fill(f"say: {text}")
        page.keyboard.press("Enter")
        expect(page.locator(ASKED)).to_have_count(1)
        idle(page)
        page.wait_for_timeout(100)
        return page.evaluate(ALIVE)

    yield shown
    page.close()


@pytest.mark.browser
@given(
    st.lists(
        st.text(MARKS, max_size=40)
        | st.lists(st.sampled_from((*PIECES, "a", "$")), max_size=9).map("".join),
        min_size=5,
        max_size=5,
    )
)
@settings(
    deadline=None,
    max_examples=examples(8),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_nothing_becomes_a_picture_a_script_or_a_foreign_link(shown_by_the_page, texts):
    found = shown_by_the_page("\n\n".join(texts))
    assert found == {"alive": 0, "links": []}
