"""FP8 dequantisation against numpy, bit for bit."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek_convert.source import fp8


def decode_e4m3(codes: np.ndarray) -> np.ndarray:
    """OCP 8-bit floating point, 1-4-3: bias 7, no infinities, NaN is all ones."""
    sign = np.where(codes >> 7, -1.0, 1.0)
    exponent, mantissa = (codes >> 3 & 15).astype(np.float64), (codes & 7) / 8
    normal = (1 + mantissa) * 2.0 ** (exponent - 7)
    values = sign * np.where(exponent == 0, mantissa * 2.0**-6, normal)
    return np.where(codes & 127 == 127, np.nan, values).astype(np.float32)


def test_every_code_is_exact():
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    values = np.array(fp8.dequantize(mx.array(codes), mx.ones((1, 1)), (16, 16)))
    np.testing.assert_array_equal(values, decode_e4m3(codes))
    assert np.isnan(values).sum() == 2
    assert values[0, 1] == 2.0**-9  # the smallest subnormal


def test_every_ue8m0_code_is_exact():
    codes = np.arange(256, dtype=np.uint8)
    values = np.array(fp8.decode_ue8m0(mx.array(codes)))
    np.testing.assert_array_equal(values[:255], np.ldexp(np.float32(1), np.arange(255) - 127))
    assert np.isnan(values[255])


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    block=st.tuples(st.integers(1, 17), st.integers(1, 17)),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_and_their_partial_edges(rows, columns, block, seed):
    random = np.random.default_rng(seed)
    codes = random.integers(0, 256, (rows, columns), dtype=np.uint8)
    grid = -(-rows // block[0]), -(-columns // block[1])
    scale = random.uniform(1e-4, 3.0, grid).astype(np.float32)
    spread = scale.repeat(block[0], 0).repeat(block[1], 1)[:rows, :columns]
    values = fp8.dequantize(mx.array(codes), mx.array(scale), block)
    np.testing.assert_array_equal(np.array(values), decode_e4m3(codes) * spread)


@pytest.mark.parametrize("power", [-20, -3, 0, 5])
def test_power_of_two_scales_are_exact_in_mxfp8(power):
    """V3.1's scales: 128x128 blocks of e4m3 times a power of two lose nothing in MLX's mxfp8."""
    random = np.random.default_rng(7)
    codes = random.integers(0, 256, (128, 128), dtype=np.uint8)
    codes[codes & 127 == 127] = 0
    values = fp8.dequantize(mx.array(codes), mx.full((1, 1), 2.0**power), (128, 128))
    packed, scales = mx.quantize(values, group_size=32, bits=8, mode="mxfp8")
    back = mx.dequantize(packed, scales, group_size=32, bits=8, mode="mxfp8", dtype=mx.float32)
    np.testing.assert_array_equal(np.array(back), np.array(values))
