"""Turn untrusted text into Markdown that shows it and does nothing else.

The chat component renders Markdown with raw HTML, pictures and Mermaid in it; none of those may
come from a prompt or a model, since even sanitized HTML can fetch a picture from another machine.
`page.js` undoes both encodings wherever text leaves the page (copying, editing).
"""

import re

JOINER = "\u2060"  # invisible, breaks the tokens that Markdown and HTML would act on

_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_INDENT = re.compile(r"(?m)^[ \t]+|(?<= ) +")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[ \t]*([^\n`]*)$")
_INLINE_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
_MATH = re.compile(
    r"\$\$(?P<block>.+?)\$\$"
    r"|\\\[(?P<display>.+?)\\\]"
    r"|\\\((?P<inline>.+?)\\\)"
    # pandoc's rule, so that "$5 and $10" stays money
    r"|(?<![\\$\w])\$(?P<dollar>[^\s$](?:[^$\n]*[^\s$\\])?)\$(?![\d$])",
    re.DOTALL,
)
# what would become an HTML tag, a picture, or the start of maths
_ACTIVE = re.compile(r"<(?=[A-Za-z/!?])|!(?=\[)|\$(?=\$)|\\(?=[(\[\])])")
_MERMAID = re.compile(r"(?i)([`~]{3,}[ \t]*)(?=mermaid)")


def user_markdown(text: str) -> str:
    """Markdown that shows `text` character by character: every punctuation mark is an entity."""
    escaped = _PUNCTUATION.sub(lambda mark: f"&#{ord(mark.group())};", text)
    return _INDENT.sub(lambda gap: "&#160;" * len(gap.group().expandtabs(4)), escaped)


def model_markdown(text: str) -> str:
    """A model's Markdown with raw HTML, pictures and diagrams made inert; maths is kept.

    Code is treated like prose: where code ends is a matter of opinion between Markdown parsers,
    and an opinion must not decide whether a tag is live.
    """
    out: list[str] = []
    prose: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        closes = mark and fence and mark[1].startswith(fence) and not mark[2].strip()
        if not fence and not mark:
            prose.append(line)
            continue
        out.extend(_flush(prose))
        out.append(inert(line))
        if mark and not fence:
            fence = mark[1]
        elif closes:
            fence = ""
    return "\n".join([*out, *_flush(prose)])


def inert(text: str) -> str:
    """Text in which Markdown finds no HTML, no picture, no maths and no diagram."""
    text = _ACTIVE.sub(lambda found: found.group() + JOINER, text)
    # drawn by a library that follows HTML in labels
    return _MERMAID.sub(lambda found: found.group() + JOINER, text)


def _flush(prose: list[str]) -> list[str]:
    """The collected prose lines together: code spans and maths may cross lines."""
    if not prose:
        return []
    text = "\n".join(prose)
    prose.clear()
    parts: list[str] = []
    end = 0
    for code in _INLINE_CODE.finditer(text):
        parts.append(_with_maths(text[end : code.start()]))
        parts.append(inert(code.group()))
        end = code.end()
    return ["".join([*parts, _with_maths(text[end:])])]


def _with_maths(text: str) -> str:
    """Inert text, but for maths in the delimiters that the page knows."""
    parts: list[str] = []
    end = 0
    for maths in _MATH.finditer(text):
        parts.append(inert(text[end : maths.start()]))
        body = next(part for part in maths.groups() if part is not None)
        # "<" would start an HTML tag; a delimiter in the formula would end it early
        body = body.replace("<", r"\lt ").replace(">", r"\gt ").replace("$", "")
        body = re.sub(r"\\(?=[()\[\]])", "", body)
        inline = maths["inline"] is not None or maths["dollar"] is not None
        parts.append(rf"\({body}\)" if inline else f"$${body}$$")
        end = maths.end()
    return "".join([*parts, inert(text[end:])])
