"""What each storage adds to the error of FP8 weights, for both kinds of block scales.

    python tests/bench/fp8_error.py [--rows 1024] [--columns 2048]

Makes e4m3 codes of normal values in blocks of 128 x 128 with float32 scales (DeepSeek-V3, R1) and
with powers of two (V3.1, V3.2), and compares what is stored with the source's own values, the
float32 products of code and scale: the root mean square of the difference over that of the values,
the largest difference over the largest value of its block, and the share of values that are equal.
"""

import argparse

import mlx.core as mx

from mlx_deepseek_convert.planning.outputs import Output
from mlx_deepseek_convert.source import fp8
from mlx_deepseek_convert.source.formats import FIXED, Setting

BLOCK = 128
SETTINGS = {
    "bf16": None,
    **{f"{bits}-bit": Setting(bits) for bits in (8, 6, 5, 4, 3, 2)},
    **{mode: Setting(bits, size, mode) for mode, (size, bits) in FIXED.items()},
}


def source_values(rows: int, columns: int, *, powers: bool) -> mx.array:
    """What an FP8 checkpoint's weights are: float32 [rows, columns]."""
    weights = 0.02 * mx.random.normal((rows, columns), key=mx.random.key(7))
    blocks = weights.reshape(rows // BLOCK, BLOCK, columns // BLOCK, BLOCK)
    scale = mx.abs(blocks).max((1, 3), keepdims=True) / 448
    if powers:
        scale = 2.0 ** mx.ceil(mx.log2(scale))
    codes = mx.to_fp8(blocks / scale).reshape(rows, columns)
    return fp8.dequantize(codes, scale.reshape(rows // BLOCK, -1), (BLOCK, BLOCK))


def stored_values(values: mx.array, setting: Setting | None) -> mx.array:
    """What a conversion keeps of them."""
    stored = Output("w.weight", tuple(values.shape), "BF16", setting).store(values)
    if setting is None:
        return stored[0].astype(mx.float32)
    if setting.mode == "affine":
        stored = [stored[0], *(part.astype(mx.float32) for part in stored[1:])]
    return mx.dequantize(*stored, **setting.as_config(), dtype=mx.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--columns", type=int, default=2048)
    args = parser.parse_args()
    for kind, powers in (("float32 scales", False), ("power-of-two scales", True)):
        values = source_values(args.rows, args.columns, powers=powers)
        blocks = (args.rows // BLOCK, BLOCK, args.columns // BLOCK, BLOCK)
        largest = mx.abs(values).reshape(blocks).max((1, 3), keepdims=True)
        print(f"\n{kind:20} relative RMS   largest   equal")
        for name, setting in SETTINGS.items():
            error = mx.abs(stored_values(values, setting) - values)
            rms = mx.sqrt(mx.mean(error**2) / mx.mean(values**2)).item()
            worst = (error.reshape(blocks) / largest).max().item()
            equal = mx.mean(error == 0).item()
            print(f"{name:20} {rms:12.2e} {worst:9.2e} {equal:7.1%}")


if __name__ == "__main__":
    main()
