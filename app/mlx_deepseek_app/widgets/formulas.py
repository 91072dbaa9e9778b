r"""Where formulas are in Markdown: \(..\), \[..\], $$..$$ and $..$, as rules of the parser."""

import re

from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

_FORMULAS = tuple(
    (
        left,
        re.compile(rf"{re.escape(left)}((?:{inside}|\\.){{1,5000}}?){re.escape(right)}", re.DOTALL),
    )
    for left, inside, right in (
        ("\\(", r"[^\\]", "\\)"),
        ("\\[", r"[^\\]", "\\]"),
        ("$$", r"[^\\$]", "$$"),
        ("$", r"[^\\$\n]", "$"),
    )
)
FORMULA_LINES_AT_MOST = 200
RUNNING = "running"  # in the parser's env: the inline text that may still grow, or whether any may
# what a formula begins with, at the end of a text that is being written; "$" only where it is none
# of money, and not for long
_BEGUN = re.compile(r"\\\Z|(\\[(\[]|\$\$)[\s\S]{0,1000}\Z|\$(?=[A-Za-z\\{]|\Z)[^$\n]{0,80}\Z")


def inline_formula(state: StateInline, silent: bool) -> bool:
    r"""Inline rule: \(..\), \[..\], $$..$$, and $..$ where it is no money."""
    for left, pattern in _FORMULAS:
        found = pattern.match(state.src, state.pos)
        if found is None or not _whole(found[1]):
            continue
        if left == "$" and not _no_money(state.src, *found.span()):
            continue
        if not silent:
            token = state.push("formula", "", 0)
            token.content, token.markup = found[1], left
        state.pos = found.end()
        return True
    if state.env.get(RUNNING) == state.src and _BEGUN.match(state.src, state.pos):
        if not silent:
            state.push("unfinished", "", 0)
        state.pos = state.posMax
        return True
    return False


def _no_money(text: str, begin: int, end: int) -> bool:
    """Pandoc's rule, for languages without gaps too: "$5 and $10" and "US$5" stay money."""
    inside, beside = (
        text[begin + 1 : end - 1],
        text[max(begin - 1, 0) : begin] + text[end : end + 1],
    )
    return inside == inside.strip() and not any(
        one.isascii() and (one.isalnum() or one == "$") for one in beside
    )


def _whole(body: str) -> bool:
    """Whether KaTeX's search for the end of a formula comes to the end of this one."""
    level = 0
    for mark in re.findall(r"\\.|[{}\\]", body, re.DOTALL):
        level += {"{": 1, "}": -1, "\\": 10**6}.get(mark, 0)  # a lone backslash at the end
    return bool(body.strip()) and level == 0


def block_formula(state: StateBlock, first: int, last: int, silent: bool) -> bool:
    r"""Block rule: lines from one that begins with $$ or \[ to one that ends with its end."""
    begin = state.bMarks[first] + state.tShift[first]
    left = state.src[begin : begin + 2]
    if state.is_code_block(first) or left not in ("$$", "\\["):
        return False
    text, pattern = "", dict(_FORMULAS)[left]
    for line in range(first, min(last, first + FORMULA_LINES_AT_MOST)):
        if line > first and state.sCount[line] < state.blkIndent and not state.isEmpty(line):
            return False  # out of its list
        text += state.getLines(line, line + 1, state.blkIndent, True).lstrip(" ")
        found = pattern.match(text)
        if found is None:
            continue
        if text[found.end() :].strip() or not _whole(found[1]):
            return False
        if not silent:
            state.line = line + 1
            token = state.push("formula", "", 0)
            token.block, token.content, token.markup = True, found[1], left
            token.map = [first, state.line]
        return True
    if state.env.get(RUNNING) and last == state.lineMax and state.level == 0:
        if not silent:
            state.line = last
            state.push("unfinished", "", 0).block = True
        return True
    return False
