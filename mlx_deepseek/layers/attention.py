"""Scaled dot-product attention to expanded keys, to latent rows, and to chosen rows.

What is held in between does not grow with the S cached tokens: long ones come in parts.
"""

from collections.abc import Callable

import mlx.core as mx

from mlx_deepseek.layers.device import on_gpu
from mlx_deepseek.layers.in_turn import in_turn
from mlx_deepseek.layers.latents import AnyRows, Queries, dot, mix
from mlx_deepseek.layers.masks import Mask, hide, visible

# Metal's fused kernel wants equally wide queries and values, of one of these widths; without it
# all scores [B, H, L, S] are written to memory.
FUSED_WIDTHS = frozenset({64, 72, 80, 96, 128, 192, 256})

# Cached tokens whose keys and values are expanded at a time where that kernel does not run.
BLOCK_GPU, BLOCK_CPU = 2048, 256


def fuses(width: int) -> bool:
    """Whether the fused kernel runs on this device for queries of that width."""
    return on_gpu() and mx.metal.is_available() and width in FUSED_WIDTHS


def block_size(length: int, width: int) -> int:
    """Of `length` cached tokens, how many to expand at a time for queries of that width."""
    return length if fuses(width) else min(length, BLOCK_GPU if on_gpu() else BLOCK_CPU)


def attend(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *,
    scale: float,
    mask: Mask,
    fused: bool | None = None,
) -> mx.array:
    """Output [B, H, L, V] of queries [B, H, L, Q], keys [B, H, S, Q] and values [B, H, S, V].

    `fused` pads the values with zeros to Q, which lets the fused kernel run; None decides by
    device. MLA has Q = 192 and V = 128.
    """
    width, value_width = queries.shape[-1], values.shape[-1]
    if fused is None:
        fused = fuses(width)
    if fused and value_width < width:
        values = mx.pad(values, [(0, 0)] * 3 + [(0, width - value_width)])
    out = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    return out[..., :value_width]


def attend_blocks(
    queries: mx.array,
    expand: Callable[[slice, object], tuple[mx.array, mx.array]],
    length: int,
    block: int,
    *,
    scale: float,
    mask: Mask,
) -> mx.array:
    """As `attend`, to keys and values of S = `length` tokens, `block` of them at a time.

    `expand(tokens, done)` makes those of a slice once `done` is computed. The softmax runs along
    (arXiv:1805.02867): a new maximum scales down what was summed before.
    """
    if block >= length:
        return attend(queries, *expand(slice(0, length), queries), scale=scale, mask=mask)
    new, scaled = queries.shape[2], queries * scale
    highest = mx.full((*queries.shape[:3], 1), -mx.inf)  # float32, as the softmax of all
    total, mixed = mx.zeros_like(highest), mx.zeros((), mx.float32)
    for start in range(0, length, block):
        tokens = slice(start, min(start + block, length))
        keys, values = expand(tokens, (total, mixed))
        scores = scaled @ keys.swapaxes(-1, -2)
        shown = visible(mask, slice(0, new), tokens, new, length)
        scores = scores if shown is None else hide(scores, shown)
        before = highest
        highest = mx.maximum(before, scores.max(-1, keepdims=True))
        weights, fade = mx.exp(scores - highest), mx.exp(before - highest)
        total = total * fade + weights.sum(-1, keepdims=True)
        mixed = mixed * fade + weights.astype(values.dtype) @ values
    return (mixed / total).astype(queries.dtype)


def attend_rows(queries: Queries, rows: AnyRows, scale: float, mask: Mask) -> mx.array:
    """Attended latents [B, H, L, R] of queries [B, H, L, R] and [B, H, L, P] to S rows.

    All heads' queries are rows of one product.
    """
    queries = [q.swapaxes(1, 2) for q in queries]  # [B, L, H, R], [B, L, H, P]
    (B, L, H, rank), S = queries[0].shape, rows.length

    def some(part: slice, *queries: mx.array) -> mx.array:
        scores = rows.scores([q.reshape(B, 1, -1, q.shape[-1]) for q in queries], scale)
        shown = visible(mask, part, slice(0, S), L, S)
        if shown is not None:
            by_head = scores.reshape(B, -1, H, S)
            scores = hide(by_head, shown.swapaxes(1, 2)).reshape(scores.shape)
        # Float32 inside the softmax, as the reference.
        out = rows.mix(mx.softmax(scores, axis=-1, precise=True), rank)
        return out.reshape(B, -1, H, rank)

    return in_turn(some, queries, each=B * H * S).swapaxes(1, 2)


def attend_taken(
    queries: Queries, rows: AnyRows, scale: float, places: mx.array, allowed: mx.array
) -> mx.array:
    """The same to each query's own K rows, at `places` [B, L, K] where `allowed` [B, L, K]."""
    queries = [q.swapaxes(1, 2) for q in queries]
    (B, _, _, rank), width = queries[0].shape, sum(q.shape[-1] for q in queries)

    def some(_: slice, places: mx.array, allowed: mx.array, *queries: mx.array) -> mx.array:
        taken = rows.take(places, queries[0].dtype)  # [B, l, K, R + P]
        scores = hide(dot(queries, taken, scale), allowed[:, :, None])
        return mix(mx.softmax(scores, axis=-1, precise=True), taken, rank)

    each = B * places.shape[-1] * width
    return in_turn(some, [places, allowed, *queries], each).swapaxes(1, 2)
