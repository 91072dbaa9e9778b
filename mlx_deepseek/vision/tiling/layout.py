"""Encoded views as a row of tokens: patches with newlines, tiles laid out as one picture."""

import mlx.core as mx

from mlx_deepseek.vision.tiling.plan import TilePlan


def rows(features: mx.array, newline: mx.array) -> mx.array:
    """Features [h, w, D] as [h * (w + 1), D], a newline [D] after each row."""
    h, _, D = features.shape
    ends = mx.broadcast_to(newline.astype(features.dtype), (h, 1, D))
    return mx.concatenate([features, ends], axis=1).flatten(0, 1)


def view(features: mx.array, plan: TilePlan) -> mx.array:
    """The global view's features [1, side * side, D] as [side, side, D]."""
    return mx.unflatten(features[0], 0, (plan.view_side, plan.view_side))


def mosaic(features: mx.array, plan: TilePlan) -> mx.array:
    """Tiles' features [T, side * side, D] as one picture [rows * side, columns * side, D]."""
    side, D = plan.tile_side, features.shape[-1]
    grid = features.reshape(plan.rows, plan.columns, side, side, D).swapaxes(1, 2)
    return grid.reshape(plan.rows * side, plan.columns * side, D)
