"""Text of users and models as HTML that shows it and does nothing else.

Markdown is parsed here, by a CommonMark parser, and the page gets finished HTML: every character
that somebody wrote is escaped, and tags come from the parser's own renderer alone. Formulas travel
between noncharacters, which no text may hold, to KaTeX in the page.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pygments.lexers import get_lexer_by_name
from pygments.token import Token as Kind
from pygments.util import ClassNotFound

from mlx_deepseek_app.widgets import diagrams
from mlx_deepseek_app.widgets.formulas import RUNNING, block_formula, inline_formula

# what opens and closes a formula for KaTeX
INLINE, DISPLAY = ("\ufdd0", "\ufdd1"), ("\ufdd2", "\ufdd3")
LATEX: list[dict[str, Any]] = [
    {"left": DISPLAY[0], "right": DISPLAY[1], "display": True},
    {"left": INLINE[0], "right": INLINE[1], "display": False},
]
_FORBIDDEN = re.compile("[\ufdd0-\ufdd3\0]")
# besides HTML's own: templates of gradio's, its places of formulas, ends of an HTML block
_SPECIAL = re.compile(r"[{}$%\\\n\r]")
_ADDRESS = re.compile(r"https?://[^\s<>\"'`]*[^\s<>\"'`.,;:!?)\]}*_]")
_LINKABLE = re.compile(r"(?i)(https?://|mailto:)")
_HARMLESS = re.compile(r"(?i)<(/?)(br|sub|sup|kbd)\s*/?>")
_TASK = re.compile(r"^\[([ xX])\]\s")
HIGHLIGHTED_AT_MOST = 50_000  # characters of code
# shown by content.js in a frame that can do nothing else
PREVIEWED = ("html", "svg", "xhtml", *(["mermaid"] if diagrams.script() else []))
FOLDED_LINES, FOLDED_CHARACTERS = 12, 1500  # of a user's text; content.css shows as many lines
CLASSES = (
    (Kind.Comment, "comment"), (Kind.Keyword, "keyword"), (Kind.Literal.String, "string"),
    (Kind.Literal.Number, "number"), (Kind.Name.Function, "function"),
    (Kind.Name.Class, "class-name"), (Kind.Name.Builtin, "builtin"), (Kind.Name.Tag, "tag"),
    (Kind.Name.Attribute, "attr-name"), (Kind.Generic.Inserted, "inserted"),
    (Kind.Generic.Deleted, "deleted"), (Kind.Operator, "operator"),
    (Kind.Punctuation, "punctuation")
)  # fmt: skip


def escaped(text: str) -> str:
    """Text for HTML, in which neither the page's templates nor its Markdown find anything."""
    text = escape(_FORBIDDEN.sub("\ufffd", text))
    return _SPECIAL.sub(lambda mark: f"&#{ord(mark.group())};", text)


def user_html(text: str) -> str:
    """A user's text, character by character; the style sheet keeps its gaps and lines.

    A long one is folded, with a button that shows the rest.
    """
    if not text:
        return ""
    long = text.count("\n") >= FOLDED_LINES or len(text) > FOLDED_CHARACTERS
    more = _button("unfold", "Show all", "Show all") if long else ""
    folded = " folded" if long else ""
    return f'<div class="as-typed{folded}" dir="auto">{escaped(text)}</div>{more}'


@lru_cache(maxsize=512)
def model_html(text: str, running: bool = False) -> str:
    """A model's Markdown, each block a line of HTML after an empty one.

    While it is `running`, a formula at its end is a sign until it is whole.
    """
    tokens = _PARSER.parse(_FORBIDDEN.sub("\ufffd", text), {RUNNING: running})
    blocks, begin = [], 0
    for at, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            html = _PARSER.renderer.render(tokens[begin : at + 1], _PARSER.options, {})
            blocks.append(html.replace("\n", ""))
            begin = at + 1
    return "\n\n".join(blocks)


@lru_cache(maxsize=256)
def code_html(code: str, language: str = "") -> str:
    """A block of code under a bar with its language and buttons: wrap, preview, copy."""
    name = f'<span class="code-language">{escaped(language)}</span>'
    buttons = _button("wrap_code_button", "Wrap lines")
    if language.lower() in PREVIEWED:
        buttons += _button("preview_code_button", "Preview")
    if language.lower() in ("lean", "lean4"):
        buttons += _button("check_code_button", "Check with Lean")
    buttons += _button("copy_code_button", "Copy code")
    shown = _highlighted(code.rstrip("\n"), language)
    bar = f'<div class="code-bar">{name}{buttons}</div>'
    return f'<div class="code_wrap">{bar}<pre><code>{shown}</code></pre></div>'


def _button(name: str, label: str, words: str = "") -> str:
    """Its label is translated as the app's own words are."""
    return f'<button type="button" class="app-note {name}" title="{label}">{words}</button>'


def _highlighted(code: str, language: str) -> str:
    try:
        lexer = get_lexer_by_name(language.lower(), stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escaped(code)
    if len(code) > HIGHLIGHTED_AT_MOST:
        return escaped(code)
    parts = []
    for kind, text in lexer.get_tokens(code):
        name = next((name for known, name in CLASSES if kind in known), None)
        parts.append(
            f'<span class="token {name}">{escaped(text)}</span>' if name else escaped(text)
        )
    return "".join(parts)


# -- the parser ------------------------------------------------------------------------------------


class _Renderer(RendererHTML):
    @staticmethod
    def renderAttrs(token: Token) -> str:
        return "".join(f' {name}="{escaped(str(value))}"' for name, value in token.attrItems())


def _formula_html(token: Token) -> str:
    left, right = DISPLAY if token.markup in ("$$", "\\[") else INLINE
    html = f'<span class="formula">{left}{escaped(token.content.strip())}{right}</span>'
    return f"<p>{html}</p>" if token.block else html


def _image_html(token: Token) -> str:
    """A link: nothing is fetched that nobody has asked for."""
    url = str(token.attrGet("src") or "")
    return _link(url, escaped(token.content or url), "picture-link")


# what is not here has tags only; "ready" is HTML that a rule has made
RENDERED: dict[str, Callable[[Token], str]] = {
    "text": lambda token: escaped(token.content),
    "ready": lambda token: token.content,
    "formula": _formula_html,
    "code_inline": lambda token: f"<code>{escaped(token.content)}</code>",
    "code_block": lambda token: code_html(token.content),
    "fence": lambda token: code_html(token.content, (token.info.split() or [""])[0]),
    "softbreak": lambda _: "<br>",
    "hardbreak": lambda _: "<br>",
    "image": _image_html,
    "unfinished": lambda _: '<span class="unfinished">…</span>',
}


def _rule(html: Callable[[Token], str]) -> Callable[..., str]:
    def render(_: Any, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return html(tokens[idx])

    return render


def _link(url: str, html: str, name: str = "") -> str:
    if not _LINKABLE.match(url):
        return html
    kind = f' class="{name}"' if name else ""
    return f'<a href="{escaped(url)}"{kind} target="_blank" rel="noopener noreferrer">{html}</a>'


def _harmless(state: StateInline, silent: bool) -> bool:
    """Inline rule: the few tags that models write into tables."""
    found = _HARMLESS.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        state.push("ready", "", 0).content = f"<{found[1]}{found[2].lower()}>"
    state.pos = found.end()
    return True


def _box(done: bool) -> str:
    name, sign = ("task-box done", "☑") if done else ("task-box", "☐")
    return f'<span class="{name}">{sign}</span> '


def _end_of_text(state: StateCore) -> None:
    """Core rule before the inline ones: what may still grow is the end of the last block."""
    last = next((one for one in reversed(state.tokens) if one.nesting >= 0), None)
    if state.env.get(RUNNING) and last is not None and last.type == "inline":
        state.env[RUNNING] = last.content


def _refine(state: StateCore) -> None:
    """Core rule: bare addresses are links, boxes of task lists are signs, links open elsewhere.

    Each block has the direction of its first letter.
    """
    for at, token in enumerate(state.tokens):
        if token.level == 0 and token.nesting == 1:
            token.attrSet("dir", "auto")
        if token.type != "inline" or not token.children:
            continue
        depth, children = 0, []
        first = token.children[0]
        listed = at > 1 and state.tokens[at - 2].type == "list_item_open" and first.type == "text"
        if listed and (box := _TASK.match(first.content)):
            first.content = first.content[box.end() :]
            token.children.insert(0, Token("ready", "", 0, content=_box(box[1] != " ")))
        for child in token.children:
            depth += {"link_open": 1, "link_close": -1}.get(child.type, 0)
            if child.type == "link_open":
                child.attrs |= {"target": "_blank", "rel": "noopener noreferrer"}
            children += _linked(child) if child.type == "text" and not depth else [child]
        token.children = children


def _linked(text: Token) -> list[Token]:
    parts, end = [], 0
    for found in _ADDRESS.finditer(text.content):
        parts.append(Token("text", "", 0, content=text.content[end : found.start()]))
        parts.append(Token("ready", "", 0, content=_link(found[0], escaped(found[0]))))
        end = found.end()
    return [*parts, Token("text", "", 0, content=text.content[end:])]


def _parser() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"breaks": True}, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"]).disable(["html_block", "html_inline"])
    markdown.inline.ruler.before("escape", "formula", inline_formula)
    markdown.inline.ruler.before("autolink", "harmless", _harmless)
    ends: Any = {"alt": ["paragraph", "reference", "blockquote", "list"]}  # what it may end
    markdown.block.ruler.before("fence", "formula", block_formula, ends)
    markdown.core.ruler.before("inline", "end of text", _end_of_text)
    markdown.core.ruler.push("refine", _refine)
    for name, html in RENDERED.items():
        markdown.add_render_rule(name, _rule(html))
    markdown.validateLink = lambda url: bool(_LINKABLE.match(url))  # type: ignore[method-assign]
    return markdown


_PARSER = _parser()
