"""Scaled dot-product attention to expanded keys, to latent rows, and to chosen rows."""

import mlx.core as mx

from mlx_deepseek.layers.latents import PackedRows, Queries, Rows, dot

# Metal's fused kernel wants equally wide queries and values, of one of these widths; without it
# all scores [B, H, L, S] are written to memory.
FUSED_WIDTHS = frozenset({64, 72, 80, 96, 128, 192, 256})

# Numbers of chosen rows [B, L, K, R + P] held at a time while a prompt is read.
TAKEN_AT_A_TIME = 1 << 25


def attend(
    queries: mx.array,
    keys: mx.array,
    values: mx.array,
    *,
    scale: float,
    mask: mx.array | str | None,
    fused: bool | None = None,
) -> mx.array:
    """Output [B, H, L, V] of queries [B, H, L, Q], keys [B, H, S, Q] and values [B, H, S, V].

    `fused` pads the values with zeros to Q where that lets the fused kernel run; None decides by
    device. MLA has Q = 192 and V = 128.
    """
    width, value_width = queries.shape[-1], values.shape[-1]
    if fused is None:
        fused = mx.metal.is_available() and mx.default_device().type == mx.DeviceType.gpu
    if fused and value_width < width and width in FUSED_WIDTHS:
        values = mx.pad(values, [(0, 0)] * 3 + [(0, width - value_width)])
    out = mx.fast.scaled_dot_product_attention(queries, keys, values, scale=scale, mask=mask)
    return out[..., :value_width]


def attend_rows(
    queries: Queries, rows: Rows | PackedRows, scale: float, mask: mx.array | str | None
) -> mx.array:
    """Attended latents [B, H, L, R] of queries [B, H, L, R] and [B, H, L, P] to S rows.

    All heads' queries are rows of one product.
    """
    (B, H, L, rank), S = queries[0].shape, rows.length
    scores = rows.scores([q.reshape(B, 1, H * L, -1) for q in queries], scale)  # [B, 1, H L, S]
    if mask is not None:
        if isinstance(mask, str):  # "causal"
            mask = mx.arange(S - L, S)[:, None] >= mx.arange(S)
        scores = hide(scores.reshape(B, H, L, S), mask).reshape(scores.shape)
    # Float32 inside the softmax, as the reference.
    out = rows.mix(mx.softmax(scores, axis=-1, precise=True), rank)
    return out.reshape(B, H, L, rank)


def attend_taken(
    queries: Queries, rows: Rows | PackedRows, scale: float, places: mx.array, allowed: mx.array
) -> mx.array:
    """The same to each query's own K rows, at `places` [B, L, K] where `allowed` [B, L, K]."""
    queries = [q.swapaxes(1, 2) for q in queries]  # [B, L, H, R], [B, L, H, P]
    B, L, _, rank = queries[0].shape
    width = sum(q.shape[-1] for q in queries)
    step = max(1, TAKEN_AT_A_TIME // (B * places.shape[-1] * width))
    out: list[mx.array] = []
    for start in range(0, L, step):
        part = slice(start, start + step)
        place = places[:, part]
        if out:  # wait, or all queries' rows would exist together
            place = mx.depends([place], [out[-1]])[0]
        taken = rows.take(place, queries[0].dtype)  # [B, l, K, R + P]
        scores = dot([q[:, part] for q in queries], taken, scale)
        scores = hide(scores, allowed[:, part, None])
        out.append(mx.softmax(scores, axis=-1, precise=True) @ taken[..., :rank])
    joined = out[0] if len(out) == 1 else mx.concatenate(out, axis=1)
    return joined.swapaxes(1, 2)


def hide(scores: mx.array, mask: mx.array) -> mx.array:
    """Scores with the lowest number where `mask` is false."""
    lowest = mx.array(mx.finfo(scores.dtype).min, dtype=scores.dtype)
    return mx.where(mask, scores, lowest)
