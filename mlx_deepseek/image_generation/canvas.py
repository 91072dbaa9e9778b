"""Pictures in the making, as either way to draw gives them."""

from collections.abc import Callable
from typing import NamedTuple

import mlx.core as mx


class Canvas(NamedTuple):
    """`done` of `total` tokens or steps; `pixels(i)` makes what there is of picture i.

    They are [H, W, 3], about in [-1, 1]; one picture is decoded at a time, to bound memory.
    """

    done: int
    total: int
    pixels: Callable[[int], mx.array]
