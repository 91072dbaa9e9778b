"""What DeepSeek-OCR answers: Markdown in which blocks are named and located (arXiv:2510.18234).

A block begins as `prompts.grounding` describes; its text follows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mlx_deepseek.prompts.grounding import LOCATED, Box, Size, boxes

FIGURE = "image"
# Labels of layout; what else is located is a phrase of the page, and so text itself.
LAYOUT = frozenset(
    {
        "image",
        "image_caption",
        "figure",
        "figure_caption",
        "chart",
        "title",
        "sub_title",
        "text",
        "list",
        "table",
        "table_caption",
        "table_footnote",
        "equation",
        "equation_block",
        "formula",
        "header",
        "footer",
        "page_number",
        "page_footnote",
        "aside_text",
        "reference",
        "ref_text",
        "code",
        "code_caption",
        "algorithm",
        "seal",
    }
)
# A block that is just being written, or was cut off; without its last, unfinished marker.
UNFINISHED = re.compile(
    r"<\|ref\|>((?:(?!<\|).)*)(?:<\|/ref\|>\s*(?:<\|det\|>[^<]*)?<?)?$", re.DOTALL
)
MARKERS = ("<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>")


@dataclass(frozen=True)
class Block:
    """A part of a page: its label ("" if it has none), where it is in pixels, and its text.

    Boxes are left, top, right, bottom; a phrase may be found in several places, or nowhere.
    """

    label: str
    boxes: tuple[Box, ...]
    text: str

    @property
    def is_figure(self) -> bool:
        """Whether it is a picture to be cut out."""
        return self.label == FIGURE and bool(self.boxes)

    @property
    def words(self) -> str:
        """What can be read in it; a located phrase is read, too."""
        return self.text if self.label in LAYOUT else f"{self.label} {self.text}".strip()


def parse(answer: str, size: Size, done: bool = True) -> tuple[Block, ...]:
    """The blocks of an answer about a picture of `size`; all of its text is in one of them.

    Of an answer that is not `done`, a block whose place is still being written is left out.
    """
    return tuple(_blocks(answer, size, done))


def spoken(answer: str, done: bool = True) -> str:
    """The answer as running text: phrases without their boxes, names of layout left out."""
    return _finished(LOCATED.sub(_spoken, answer), done)


def _spoken(found: re.Match[str]) -> str:
    gap = found[0][len(found[0].rstrip()) :]
    return "" if found[1].strip() in LAYOUT else found[1] + gap


def _blocks(answer: str, size: Size, done: bool) -> Iterator[Block]:
    label, places, start = "", (), 0
    for match in LOCATED.finditer(answer):
        yield from _block(label, places, answer[start : match.start()])
        label, places, start = match[1].strip(), boxes(match[2], size), match.end()
    yield from _block(label, places, _finished(answer[start:], done))


def _block(label: str, boxes: tuple[Box, ...], text: str) -> Iterator[Block]:
    if label or boxes or text.strip():
        yield Block(label, boxes, text.strip())


def _finished(text: str, done: bool) -> str:
    """Text without the beginning of a block; once all is `done`, a phrase that it located stays."""
    text = _without_partial_marker(text)
    match = UNFINISHED.search(text, max(text.rfind("<|ref|>"), 0))
    if match is None:
        return text
    phrase = match[1] if done and match[1].strip() not in LAYOUT else ""
    return text[: match.start()] + phrase


def _without_partial_marker(text: str) -> str:
    start = text.rfind("<")
    tail = text[start:]
    partial = start >= 0 and any(marker.startswith(tail) for marker in MARKERS)
    return text[:start] if partial and tail not in MARKERS and len(tail) > 1 else text
