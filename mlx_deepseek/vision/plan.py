"""How one picture is cut into views, and how many tokens it takes: plain numbers, no pixels.

Legend: T tiles, C vision width, D model width; sizes are (width, height) in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx
from PIL.Image import Image

Size = tuple[int, int]


@dataclass(frozen=True)
class TilePlan:
    """The cut of one picture: a global view, and `columns` x `rows` tiles of a larger copy.

    `view_side` and `tile_side` are tokens along a side of the view and of a tile. With `newlines`
    every row of tokens ends with a newline and the two parts are separated. Without tiles
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


@dataclass(frozen=True)
class Pixels:
    """What the encoders get: the view [1, px, px, 3], tiles [T, px, px, 3], float32, normalised."""

    view: mx.array
    tiles: mx.array | None = None


class ImageReader(Protocol):
    """An architecture's preprocessing; it has no weights."""

    def plan(self, sizes: Sequence[Size]) -> list[TilePlan]:
        """The cuts of all pictures of one prompt, whose number may matter."""
        ...

    def pixels(self, picture: Image, plan: TilePlan) -> Pixels:
        """An RGB picture, cut by its plan."""
        ...
