"""Scaled dot-product attention to expanded keys, to latent rows, and to chosen rows.

What is held in between does not grow with the S cached tokens: long ones come in parts.
"""

from collections.abc import Callable, Sequence

import mlx.core as mx

from mlx_deepseek.layers.chunking import map_chunks
from mlx_deepseek.layers.latent_kv import AnyLatentKV, Queries, dot, weighted_sum
from mlx_deepseek.layers.masks import Mask, apply_mask, visible
from mlx_deepseek.runtime.device import on_gpu

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
    new, scaled = queries.shape[2], queries * scale  # [B, H, L, Q]
    highest = mx.full((*queries.shape[:3], 1), -mx.inf)  # float32, as the softmax of all
    total, mixed = mx.zeros_like(highest), mx.zeros((), mx.float32)
    for start in range(0, length, block):
        tokens = slice(start, min(start + block, length))
        keys, values = expand(tokens, (total, mixed))  # [B, H, s, Q], [B, H, s, V]
        scores = scaled @ keys.swapaxes(-1, -2)  # [B, H, L, s]
        shown = visible(mask, slice(0, new), tokens, new, length)
        scores = scores if shown is None else apply_mask(scores, shown)
        before = highest
        highest = mx.maximum(before, scores.max(-1, keepdims=True))  # [B, H, L, 1]
        weights, fade = mx.exp(scores - highest), mx.exp(before - highest)
        total = total * fade + weights.sum(-1, keepdims=True)
        mixed = mixed * fade + weights.astype(values.dtype) @ values  # [B, H, L, V]
    return (mixed / total).astype(queries.dtype)


def attend_rows(queries: Queries, rows: AnyLatentKV, scale: float, mask: Mask) -> mx.array:
    """Attended latents [B, H, L, R] of queries [B, H, L, R] and [B, H, L, P] to S rows.

    All heads' queries are rows of one product.
    """
    queries = [q.swapaxes(1, 2) for q in queries]  # [B, L, H, R], [B, L, H, P]
    (B, L, H, rank), S = queries[0].shape, rows.length

    def some(part: slice, *queries: mx.array) -> mx.array:
        scores = rows.scores([q.reshape(B, 1, -1, q.shape[-1]) for q in queries], scale)
        shown = visible(mask, part, slice(0, S), L, S)
        if shown is not None:
            by_head = scores.reshape(B, -1, H, S)  # [B, l, H, S]
            scores = apply_mask(by_head, shown.swapaxes(1, 2)).reshape(scores.shape)
        # Float32 inside the softmax, as the reference.
        out = rows.weighted_sum(mx.softmax(scores, axis=-1, precise=True), rank)
        return out.reshape(B, -1, H, rank)

    return map_chunks(some, queries, each=B * H * S).swapaxes(1, 2)


def attend_gathered(
    queries: Queries, rows: AnyLatentKV, scale: float, places: mx.array, allowed: mx.array
) -> mx.array:
    """The same to each query's own K rows, at `places` [B, L, K] where `allowed` [B, L, K]."""
    queries = [q.swapaxes(1, 2) for q in queries]
    (B, _, _, rank), width = queries[0].shape, sum(q.shape[-1] for q in queries)

    def some(_: slice, places: mx.array, allowed: mx.array, *queries: mx.array) -> mx.array:
        gathered = rows.gather(places, queries[0].dtype)  # [B, l, K, R + P]
        scores = apply_mask(dot(queries, gathered, scale), allowed[:, :, None])  # [B, l, H, K]
        return weighted_sum(mx.softmax(scores, axis=-1, precise=True), gathered, rank)

    each = B * places.shape[-1] * width
    return map_chunks(some, [places, allowed, *queries], each).swapaxes(1, 2)


# Rows that all queries share [B, S, D] or each query's own [B, L, S, D], and which of them a query
# sees: [L, S] or [B, L, S], None: all.
Part = tuple[mx.array, mx.array | None]


def attend_parts(
    queries: mx.array, parts: Sequence[Part], sinks: mx.array, scale: float
) -> mx.array:
    """Attended rows [B, L, H, D] of queries [B, L, H, D] to rows that are key and value at once.

    One softmax over the rows of all parts, and a sink [H] that adds nothing to the sum
    (arXiv:2309.17453).
    """
    B, L, H, _ = queries.shape
    scaled, scores = queries * scale, []
    for rows, shown in parts:
        if rows.ndim == 3:
            product = mx.unflatten(scaled.flatten(1, 2) @ rows.swapaxes(-1, -2), 1, (L, H))
        else:
            product = scaled @ rows.swapaxes(-1, -2)
        if shown is not None:
            product = apply_mask(product, shown[..., None, :])
        scores.append(product.astype(mx.float32))  # [B, L, H, S]
    sink = mx.broadcast_to(sinks.astype(mx.float32)[:, None], (B, L, H, 1))
    weights = mx.softmax(mx.concatenate([*scores, sink], axis=-1), axis=-1)  # [B, L, H, sum S + 1]
    out, start = mx.zeros((), queries.dtype), 0
    for rows, _ in parts:
        count = rows.shape[-2]
        weight = weights[..., start : start + count].astype(rows.dtype)
        if rows.ndim == 3:
            out = out + mx.unflatten(weight.flatten(1, 2) @ rows, 1, (L, H))
        else:
            out = out + weight @ rows
        start += count
    return out
