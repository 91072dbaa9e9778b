"""V4's and V4.1's way with pictures: one view of the picture's own shape, cut into patches.

The encoder sees patches, the language model squares of `ratio` x `ratio` of them as one token, row
by row, with a newline after each row, between a start and an end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from PIL.Image import Image

from mlx_deepseek.vision.tiling.pixels import centred, fitted, resized
from mlx_deepseek.vision.tiling.plan import Pixels, Size

# What a slot holds; features of the picture come from the encoder, the rest are learned vectors.
START, PAD, PATCHES, NEWLINE, END = KINDS = range(1, 6)
ALIGNMENT = 4  # the token after START stands at a multiple of it, where rows are paired
PAIR = 2


@dataclass(frozen=True)
class PatchPlan:
    """`rows` x `columns` patches of one picture, as tokens of `ratio` x `ratio` each.

    `paired`: token rows come two by two, each pair column by column, an odd last row with padding,
    after `pads` tokens of padding that align it. A `stretched` picture fills its frame; others are
    surrounded with grey.
    """

    patch_px: int
    rows: int
    columns: int
    ratio: int
    paired: bool = False
    pads: int = 0
    stretched: bool = False

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens."""
        return -(-self.rows // self.ratio), -(-self.columns // self.ratio)

    @cached_property
    def layout(self) -> Sequence[tuple[int, int]]:
        """Each slot's kind, and its number among the encoder's features, row by row (else -1)."""
        rows, columns = self.grid

        def slot(row: int, column: int) -> tuple[int, int]:
            if row >= rows:
                return PAD, -1
            return (NEWLINE, -1) if column == columns else (PATCHES, row * columns + column)

        high = PAIR if self.paired else 1
        inside = [
            slot(top + row, column)
            for top in range(0, rows, high)
            for column in range(columns + 1)
            for row in range(high)
        ]
        if self.paired:
            inside += [(PAD, -1)] * (len(inside) % ALIGNMENT)
        return [*[(PAD, -1)] * self.pads, (START, -1), *inside, (END, -1)]

    @property
    def slots(self) -> int:
        """Tokens of the picture in the prompt."""
        return len(self.layout)

    @property
    def kinds(self) -> Sequence[int]:
        """What each slot holds."""
        return [kind for kind, _ in self.layout]

    def at(self, position: int) -> "PatchPlan":
        """The plan with the padding that a first slot at token `position` asks for."""
        return replace(self, pads=(-1 - position) % ALIGNMENT) if self.paired else self

    def vision_tokens(self, size: Size) -> int:
        """Slots that show the picture."""
        rows, columns = self.grid
        return rows * columns


@dataclass(frozen=True)
class PatchReader:
    """Pictures in their own resolution, made larger from `least_px` pixels on or smaller.

    A picture takes at most `most_tokens`. One at least `widest` times as wide as high is stretched
    to that shape.
    """

    patch_px: int
    ratio: int
    most_tokens: int
    least_px: int
    widest: int | None = None
    paired: bool = False

    def plan(self, sizes: Sequence[Size]) -> list[PatchPlan]:
        """Each picture's plan, whatever others there are."""
        return [self._plan(*size) for size in sizes]

    def pixels(self, picture: Image, plan: PatchPlan) -> Pixels:
        """One view in [-1, 1]."""
        size = plan.columns * plan.patch_px, plan.rows * plan.patch_px
        whole = resized(picture, size) if plan.stretched else fitted(picture, size)
        return Pixels(centred([whole]))

    def _plan(self, width: int, height: int) -> PatchPlan:
        stretched = self.widest is not None and width >= height * self.widest
        if self.widest is not None:
            width = min(width, height * self.widest)
        if width * height < self.least_px:
            scale = (self.least_px / (width * height)) ** 0.5
            width, height = int(width * scale), int(height * scale)
        plan = self._of(math.ceil(height / self.patch_px), math.ceil(width / self.patch_px))
        room = budget = self.most_tokens - (ALIGNMENT - 1 if self.paired else 0)
        while plan.slots > room:
            plan = self._shrunk(width, height, budget)
            budget -= 1
        return replace(plan, stretched=stretched)

    def _of(self, rows: int, columns: int) -> PatchPlan:
        return PatchPlan(self.patch_px, rows, columns, self.ratio, self.paired)

    def _shrunk(self, width: int, height: int, budget: int) -> PatchPlan:
        """The largest plan of a picture's shape for about `budget` tokens."""
        step = PAIR if self.paired else 1
        shape = height / width
        columns = math.sqrt((budget - 2) / shape + 0.25) - 0.5  # rows * (columns + 1) + 2 tokens
        rows = columns * shape
        if columns < 1:
            rows = (budget - 2) // 2 // step * step
            return self._of(rows * self.ratio, self.ratio)
        if rows < step:
            return self._of(step * self.ratio, ((budget - 2) // step - 1) * self.ratio)
        cell = self.patch_px * self.ratio
        high, wide = math.floor(rows) // step * step, math.floor(columns)
        scale = min(wide * cell / width, high * cell / height)
        return self._of(
            math.floor(height * scale / self.patch_px), math.floor(width * scale / self.patch_px)
        )
