"""Scaled dot-product attention with values narrower than queries, on Metal's fused kernel too."""

import mlx.core as mx

# Metal's fused kernel wants equally wide queries and values, of one of these widths; without it
# all scores [B, H, L, S] are written to memory.
FUSED_WIDTHS = frozenset({64, 72, 80, 96, 128, 192, 256})


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
