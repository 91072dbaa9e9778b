"""Resizing as PyTorch does it (align_corners off), as one matrix per axis.

Position tables and pictures on the device are resized so; files are resized by Pillow.
"""

from collections.abc import Callable
from functools import lru_cache

import mlx.core as mx
import numpy as np


def resize(x: mx.array, size: tuple[int, int], kind: str, *, antialias: bool) -> mx.array:
    """x [..., H, W, C] as [..., h, w, C] in float32; `kind` is "bilinear" or "bicubic"."""
    rows = mx.array(weights(x.shape[-3], size[0], kind, antialias))  # [h, H]
    columns = mx.array(weights(x.shape[-2], size[1], kind, antialias))  # [w, W]
    x = mx.moveaxis(x.astype(mx.float32), -1, -3)  # [..., C, H, W]
    return mx.moveaxis(rows @ (x @ columns.T), -3, -1)


def resize_table(table: mx.array, length: int) -> mx.array:
    """A table [L, C] as [length, C], linearly, in its own type."""
    if table.shape[0] == length:
        return table
    matrix = mx.array(weights(table.shape[0], length, "bilinear", False))
    return (matrix @ table.astype(mx.float32)).astype(table.dtype)


@lru_cache(maxsize=64)
def weights(source: int, target: int, kind: str, antialias: bool) -> np.ndarray:
    """How much of each of `source` values each of `target` values takes: [target, source]."""
    scale = source / target
    kernel, radius = (linear, 1.0) if kind == "bilinear" else (cubic(antialias), 2.0)
    widened = max(scale, 1.0) if antialias else 1.0
    matrix = np.zeros((target, source))
    for row in range(target):
        centre = scale * (row + 0.5)
        if antialias:  # what lies outside is left out, and the rest weighs more
            first = max(int(centre - radius * widened + 0.5), 0)
            last = min(int(centre + radius * widened + 0.5), source)
            taken = np.arange(first, last)
            values = np.array([kernel((i + 0.5 - centre) / widened) for i in taken])
            matrix[row, taken] = values / values.sum()
        else:  # what lies outside is the edge
            middle = int(np.floor(centre - 0.5))
            for i in range(middle - int(radius) + 1, middle + int(radius) + 1):
                value = kernel(i + 0.5 - centre)
                matrix[row, min(max(i, 0), source - 1)] += value
    return matrix.astype(np.float32)


def linear(x: float) -> float:
    """The triangle."""
    return max(0.0, 1.0 - abs(x))


def cubic(antialias: bool) -> Callable[[float], float]:
    """Keys' kernel, with the parameter that PyTorch takes in either case."""
    a = -0.5 if antialias else -0.75

    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return ((a + 2) * x - (a + 3)) * x * x + 1
        return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0

    return kernel
