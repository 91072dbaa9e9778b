"""Padding values for the fused kernel changes no number."""

import mlx.core as mx
import pytest

from mlx_deepseek.layers.attention import attend


@pytest.mark.parametrize("mask", [None, "causal"])
@pytest.mark.parametrize(("width", "value_width"), [(192, 128), (64, 32), (24, 16)])
def test_padded_equals_plain(width, value_width, mask):
    mx.random.seed(0)
    queries, keys = (mx.random.normal((1, 2, 5, width)) for _ in range(2))
    values = mx.random.normal((1, 2, 5, value_width))
    plain = attend(queries, keys, values, scale=0.1, mask=mask, fused=False)
    padded = attend(queries, keys, values, scale=0.1, mask=mask, fused=True)
    assert padded.shape == (1, 2, 5, value_width)
    assert mx.allclose(plain, padded, atol=1e-5)
