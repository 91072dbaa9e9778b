"""Rounding for outputs: MLX reads the codes, and errors shrink as promised."""

import mlx.core as mx
import pytest

from mlx_deepseek_convert.quality.rounding import (
    Grid,
    inverse_root,
    pack,
    round_plainly,
    round_with_feedback,
)

BITS = (2, 3, 4, 5, 6, 8)


def weights(*shape: int) -> mx.array:
    value = mx.random.normal(shape, key=mx.random.key(1))
    return value.astype(mx.bfloat16).astype(mx.float32)


def inputs(rows: int, width: int) -> mx.array:
    """Rows [n, I] whose columns are correlated, as activations are."""
    factors = mx.random.normal((rows, 8), key=mx.random.key(2))
    mixing = mx.random.normal((8, width), key=mx.random.key(3))
    return factors @ mixing + 0.1 * mx.random.normal((rows, width), key=mx.random.key(4))


def by_mlx(weight: mx.array, grid: Grid) -> mx.array:
    settings = {"group_size": grid.group_size, "bits": grid.bits}
    return mx.dequantize(*mx.quantize(weight, **settings), **settings)


def output_error(weight: mx.array, values: mx.array, rows: mx.array) -> float:
    return ((rows @ (values - weight).swapaxes(-1, -2)) ** 2).mean().item()


@pytest.mark.parametrize("bits", BITS)
def test_mlx_reads_packed_codes(bits):
    codes = mx.random.randint(0, 2**bits, (3, 5, 128), key=mx.random.key(0)).astype(mx.uint32)
    ones, zeros = mx.ones((3, 5, 2)), mx.zeros((3, 5, 2))
    values = mx.dequantize(pack(codes, bits), ones, zeros, group_size=64, bits=bits)
    assert mx.array_equal(values, codes.astype(mx.float32))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("group_size", [32, 64])
def test_stored_tensors_are_the_values(bits, group_size):
    grid = Grid(bits, group_size)
    rounded = round_plainly(weights(2, 4, 128), grid)
    codes, scales, biases = (part for part in rounded.stored(grid))
    assert scales.dtype == biases.dtype == mx.bfloat16
    scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
    values = mx.dequantize(codes, scales, biases, group_size=group_size, bits=bits)
    assert mx.allclose(values, rounded.values(), atol=1e-6)


@pytest.mark.parametrize("bits", BITS)
def test_searched_scales_beat_mlx_on_weights(bits):
    weight, grid = weights(16, 128), Grid(bits, 64, mx.float32)
    ours = ((round_plainly(weight, grid).values() - weight) ** 2).mean()
    theirs = ((by_mlx(weight, grid) - weight) ** 2).mean()
    assert ours < theirs


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_feedback_beats_search_beats_mlx_on_outputs(bits):
    weight, rows, grid = weights(16, 128), inputs(512, 128), Grid(bits, 64)
    moments = rows.T @ rows / len(rows)
    searched = round_plainly(weight, grid, mx.diagonal(moments)).values()
    fed_back = round_with_feedback(weight, grid, moments).values()
    errors = [output_error(weight, v, rows) for v in (fed_back, searched, by_mlx(weight, grid))]
    assert errors[0] < 0.5 * errors[1]
    assert errors[1] < errors[2]


def test_rows_heads_and_experts_are_independent():
    weight, grid = weights(3, 4, 64), Grid(3, 32)
    rows = [inputs(100 + i, 64) for i in range(3)]
    moments = mx.stack([r.T @ r for r in rows])
    together = round_with_feedback(weight, grid, moments).values()
    for i in range(3):
        alone = round_with_feedback(weight[i], grid, moments[i]).values()
        assert mx.allclose(together[i], alone, atol=1e-5)


def test_equal_weights_are_exact():
    weight = mx.full((2, 64), 0.5)
    assert mx.array_equal(round_plainly(weight, Grid(3, 64)).values(), weight)
    assert mx.allclose(
        round_with_feedback(weight, Grid(3, 64), mx.eye(64)).values(), weight, atol=1e-6
    )


def test_inputs_never_seen_do_no_harm():
    weight, grid = weights(4, 64), Grid(4, 64)
    moments = mx.zeros((64, 64))
    moments[0, 0] = 1.0
    values = round_with_feedback(weight, grid, moments).values()
    assert mx.isfinite(values).all()
    assert mx.abs(values - weight).max() < 1.0


def test_inverse_root():
    rows = inputs(400, 32)
    moments = rows.T @ rows / len(rows)
    root = inverse_root(moments)
    damped = moments + 0.01 * mx.diagonal(moments).mean() * mx.eye(32)
    assert mx.allclose(root.T @ root @ damped, mx.eye(32), atol=1e-3)
    assert mx.array_equal(root, mx.triu(root))
