"""Grounded answers of VL2 and OCR: phrases, and boxes around what they name (arXiv:2412.10302 §3).

`<|ref|>phrase<|/ref|><|det|>[[x1, y1, x2, y2], ...]<|/det|>`, on a grid that runs from 0 to 999
along both sides of the picture.
"""

import re
from dataclasses import dataclass

GRID = 999
# A phrase never spans another marker, or one lost <|/ref|> would swallow the answer.
LOCATED = re.compile(
    r"<\|ref\|>((?:(?!<\|).)*)<\|/ref\|>\s*<\|det\|>((?:(?!<\|).)*)<\|/det\|>[ \t]*\n?", re.DOTALL
)
RECTANGLE = re.compile(r"\[([^\[\]]*)\]")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

Box = tuple[int, int, int, int]
Size = tuple[int, int]


@dataclass(frozen=True)
class GroundedBox:
    """A phrase and the boxes around what it names, in pixels: left, top, right, bottom."""

    phrase: str
    boxes: tuple[Box, ...]


def located(answer: str, size: Size) -> tuple[GroundedBox, ...]:
    """What an answer locates in a picture of `size`, in the answer's order."""
    found = LOCATED.finditer(answer)
    return tuple(GroundedBox(match[1].strip(), boxes(match[2], size)) for match in found)


def boxes(text: str, size: Size) -> tuple[Box, ...]:
    """Rectangles of four numbers each, in pixels; anything else is left out."""
    rectangles = (NUMBER.findall(rectangle) for rectangle in RECTANGLE.findall(text))
    return tuple(pixels(list(map(float, r)), size) for r in rectangles if len(r) == 4)


def pixels(numbers: list[float], size: Size) -> Box:
    """Grid to pixels, rounded down as the authors do; inside the picture, corners in order."""
    x1, y1, x2, y2 = (
        int(min(max(number / GRID, 0), 1) * side)
        for number, side in zip(numbers, (*size, *size), strict=True)
    )
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
