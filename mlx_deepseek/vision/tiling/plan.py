"""How one picture is cut into views, and how many tokens it takes: plain numbers, no pixels.

Legend: T tiles, C vision width, D model width; sizes are (width, height) in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import mlx.core as mx
from PIL.Image import Image

Size = tuple[int, int]


class ImagePlan(Protocol):
    """How one picture is shown to a model, without its pixels."""

    @property
    def slots(self) -> int:
        """Tokens of the picture in the prompt."""
        ...

    @property
    def kinds(self) -> Sequence[int]:
        """What each slot holds, from 1 on; empty where the model does not tell them apart."""
        ...

    def at(self, position: int) -> "ImagePlan":
        """The same for a picture whose first slot is token number `position`."""
        ...

    def vision_tokens(self, size: Size) -> int:
        """Slots that show a picture of `size`: newlines, separators and padding do not."""
        ...


@dataclass(frozen=True)
class TilePlan:
    """The cut of one picture: a global view, and `columns` x `rows` tiles of a larger copy.

    `view_side` and `tile_side` are tokens along a side of the view and of a tile. With `newlines`
    every row of tokens ends with a newline and the two parts are separated. Of a `padded` view some
    tokens show what surrounds the picture. Without tiles
    `columns` and `rows` are 0. The prompt's slots and the features' layout both come from here, so
    their numbers cannot drift apart.
    """

    view_px: int
    view_side: int
    tile_px: int = 0
    tile_side: int = 0
    columns: int = 0
    rows: int = 0
    newlines: bool = True
    separator: bool = True
    padded: bool = False

    @property
    def tiles(self) -> int:
        """Tiles beside the global view."""
        return self.columns * self.rows

    @property
    def view_slots(self) -> int:
        """Tokens of the global view."""
        return self.view_side * (self.view_side + self.newlines)

    @property
    def tile_slots(self) -> int:
        """Tokens of all tiles, laid out as one picture."""
        if not self.tiles:
            return 0
        return self.rows * self.tile_side * (self.columns * self.tile_side + self.newlines)

    @property
    def slots(self) -> int:
        """Tokens of the picture in the prompt."""
        return self.view_slots + self.tile_slots + self.separator

    @property
    def kinds(self) -> Sequence[int]:
        """Slots are all alike to the models that cut tiles."""
        return ()

    def at(self, position: int) -> "TilePlan":
        """The same plan: it fits anywhere."""
        return self

    def vision_tokens(self, size: Size) -> int:
        """Slots that show a picture of `size` (arXiv:2510.18234 §3.2.2)."""
        filled = min(size) / max(size) if self.padded else 1.0
        return int(self.view_side**2 * filled) + self.tiles * self.tile_side**2


@dataclass(frozen=True)
class Pixels:
    """What the encoders get: the view [1, px, px, 3], tiles [T, px, px, 3], float32, normalised."""

    view: mx.array
    tiles: mx.array | None = None


class ImageReader(Protocol):
    """An architecture's preprocessing; it has no weights. Its plans are its own kind."""

    def plan(self, sizes: Sequence[Size]) -> Sequence[ImagePlan]:
        """The plans of all pictures of one prompt, whose number may matter."""
        ...

    def pixels(self, picture: Image, plan: Any) -> Pixels:
        """An RGB picture, cut by its plan."""
        ...


Grid = tuple[int, int]  # columns, rows


def best_resolution(size: Size, candidates: Sequence[Size]) -> Size:
    """The candidate that keeps most of a picture's pixels, and of those wastes the fewest."""
    width, height = size

    def merit(candidate: Size) -> tuple[int, int]:
        scale = min(candidate[0] / width, candidate[1] / height)
        shown = min(int(width * scale) * int(height * scale), width * height)
        return shown, shown - candidate[0] * candidate[1]

    return max(candidates, key=merit)  # the first of equals, as the original takes


def best_grid(size: Size, most: int, tile_px: int) -> Grid:
    """The grid of 2 to `most` tiles whose shape is the picture's (the rule of InternVL).

    Of two equally near ones the larger if the picture fills half of it.
    """
    width, height = size
    best, nearest = (1, 1), float("inf")
    for grid in grids(most):
        distance = abs(width / height - grid[0] / grid[1])
        filled = width * height > 0.5 * tile_px * tile_px * grid[0] * grid[1]
        if distance < nearest or (distance == nearest and filled):
            best, nearest = grid, distance
    return best


@cache
def grids(most: int) -> tuple[Grid, ...]:
    """All grids of 2 to `most` tiles, small ones first; the original's order, out of a set."""
    found = {
        (i, j)
        for n in range(2, most + 1)
        for i in range(1, n + 1)
        for j in range(1, n + 1)
        if 2 <= i * j <= most
    }
    return tuple(sorted(found, key=lambda grid: grid[0] * grid[1]))
