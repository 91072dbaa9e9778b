"""FP8 weights of DeepSeek-V3 and later: e4m3 values with one scale per block (2412.19437 §3.3)."""

import mlx.core as mx


def dequantize(weight: mx.array, scale: mx.array, block: tuple[int, int]) -> mx.array:
    """Float32 values of e4m3 codes `weight` [rows, columns] (uint8).

    `scale` holds one factor per block, [ceil(rows / block[0]), ceil(columns / block[1])]; blocks at
    the right and bottom edges may be partial. The product is rounded once, in float32.
    """
    rows, columns = weight.shape
    values = mx.from_fp8(weight, dtype=mx.float32)
    pad = (-rows % block[0], -columns % block[1])
    if any(pad):
        values = mx.pad(values, [(0, pad[0]), (0, pad[1])])
    grid = values.reshape(scale.shape[0], block[0], scale.shape[1], block[1])
    values = (grid * scale[:, None, :, None]).reshape(rows + pad[0], columns + pad[1])
    return values[:rows, :columns]


def decode_ue8m0(codes: mx.array) -> mx.array:
    """Float32 powers of two of exponent-only codes (uint8): 2^(code - 127); 255 is NaN."""
    exponents = codes.astype(mx.uint32)
    bits = mx.where(exponents == 0, mx.array(0x0040_0000, mx.uint32), exponents << 23)
    bits = mx.where(exponents == 255, mx.array(0x7FC0_0000, mx.uint32), bits)
    return bits.view(mx.float32)
