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
_TAG = re.compile(r"<(?=[A-Za-z/!?])")
_PICTURE = re.compile(r"!(?=\[)")
_DELIMITER = re.compile(r"\$(?=\$)|\\(?=[(\[\])])")


def user_markdown(text: str) -> str:
    """Markdown that shows `text` character by character: every punctuation mark is an entity."""
    escaped = _PUNCTUATION.sub(lambda mark: f"&#{ord(mark.group())};", text)
    return _INDENT.sub(lambda gap: "&#160;" * len(gap.group().expandtabs(4)), escaped)


def model_markdown(text: str) -> str:
    """A model's Markdown with raw HTML, pictures and diagrams made inert; code and maths kept."""
    out: list[str] = []
    prose: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            closes = mark and mark[1].startswith(fence) and not mark[2].strip()
            out.append(line if closes else _inert_code(line))
            fence = "" if closes else fence
        elif mark:
            out.extend(_flush(prose))
            fence = mark[1]
            out.append(_open_fence(line, mark))
        else:
            prose.append(line)
    return "\n".join([*out, *_flush(prose)])


def _flush(prose: list[str]) -> list[str]:
    """The collected prose lines, made inert together: code spans and maths may cross lines."""
    if not prose:
        return []
    text = "\n".join(prose)
    prose.clear()
    return [_inert_prose(text)]


def _open_fence(line: str, mark: re.Match[str]) -> str:
    """A fence's first line; Mermaid would be drawn by a library that follows HTML in labels."""
    language = re.sub(r"[^\w+#.-].*", "", mark[2].strip())
    return line[: mark.start(2)] + ("text" if language.lower() == "mermaid" else language)


def _inert_code(code: str) -> str:
    """Code in which the renderer finds no maths: it looks for delimiters inside code too."""
    return _DELIMITER.sub(lambda found: found.group() + JOINER, code)


def _inert_prose(text: str) -> str:
    parts: list[str] = []
    end = 0
    for code in _INLINE_CODE.finditer(text):
        parts.append(_inert_maths(text[end : code.start()]))
        parts.append(code[1] + _inert_code(code[2]) + code[1])
        end = code.end()
    return "".join([*parts, _inert_maths(text[end:])])


def _inert_maths(text: str) -> str:
    """Maths in the delimiters the page knows, without "<", which would start an HTML tag."""
    parts: list[str] = []
    end = 0
    for maths in _MATH.finditer(text):
        parts.append(_inert_markup(text[end : maths.start()]))
        body = next(part for part in maths.groups() if part is not None)
        body = body.replace("<", r"\lt ").replace(">", r"\gt ")
        inline = maths["inline"] is not None or maths["dollar"] is not None
        parts.append(rf"\({body}\)" if inline else f"$${body}$$")
        end = maths.end()
    return "".join([*parts, _inert_markup(text[end:])])


def _inert_markup(text: str) -> str:
    # a lone delimiter must not pair up with one in a later part
    text = _inert_code(text)
    return _PICTURE.sub("!" + JOINER, _TAG.sub("<" + JOINER, text))
