"""Which grid of tiles a picture is cut into: the rules of VL2 and of OCR, as pure functions."""

from collections.abc import Sequence
from functools import cache

from mlx_deepseek.vision.plan import Size

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
