"""Rotary frequencies and YaRN temperatures against their formulas and the reference's numbers."""

import math

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.rope import Rope, RopeConfig, inverse_frequencies, magnitude, softmax_scale

YARN = {
    "beta_fast": 32,
    "beta_slow": 1,
    "factor": 40,
    "mscale": 0.707,
    "mscale_all_dim": 0.707,
    "original_max_position_embeddings": 4096,
    "type": "yarn",
}


def rotate(x: np.ndarray, frequencies: np.ndarray, position: int, *, interleaved: bool):
    """Rotate one vector [P] pair by pair, as complex numbers."""
    half = len(x) // 2
    pairs = x.reshape(half, 2) if interleaved else x.reshape(2, half).T
    turned = (pairs[:, 0] + 1j * pairs[:, 1]) * np.exp(1j * position * frequencies)
    out = np.stack([turned.real, turned.imag], axis=-1)
    return out.reshape(-1) if interleaved else out.T.reshape(-1)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("scaling", [None, {"type": "linear", "factor": 4.0}, YARN])
def test_rotation_is_complex_multiplication(interleaved, scaling):
    config = RopeConfig(dims=16, interleaved=interleaved, scaling=scaling)
    x = mx.random.normal((1, 2, 3, 16), key=mx.random.key(0))
    got = np.array(Rope(config)(x, offset=1000))
    frequencies = inverse_frequencies(config)
    for head in range(2):
        for i in range(3):
            want = rotate(
                np.array(x[0, head, i], dtype=np.float64),
                frequencies,
                1000 + i,
                interleaved=interleaved,
            )
            np.testing.assert_allclose(got[0, head, i], want, atol=2e-4)


def test_each_row_of_a_batch_has_its_own_offset():
    rope = Rope(RopeConfig(dims=8))
    x = mx.random.normal((2, 1, 3, 8), key=mx.random.key(1))
    together = rope(x, mx.array([5, 11]))
    assert mx.allclose(together[0], rope(x[:1], 5)[0], atol=1e-5)
    assert mx.allclose(together[1], rope(x[1:], 11)[0], atol=1e-5)


def test_linear_scaling_divides_every_frequency():
    plain = inverse_frequencies(RopeConfig(dims=8, theta=1e5))
    scaled = inverse_frequencies(
        RopeConfig(dims=8, theta=1e5, scaling={"type": "linear", "factor": 4.0})
    )
    np.testing.assert_allclose(scaled, plain / 4)


def test_yarn_keeps_fast_channels_and_slows_slow_ones():
    plain = inverse_frequencies(RopeConfig(dims=64))
    yarn = inverse_frequencies(RopeConfig(dims=64, scaling=YARN))
    assert yarn[0] == plain[0]
    assert yarn[-1] == pytest.approx(plain[-1] / 40)
    assert (np.diff(yarn) < 0).all()


@pytest.mark.parametrize(("all_dim", "ratio"), [(0.707, 1.5896), (1.0, 1.8739)])
def test_softmax_scale_of_released_checkpoints(all_dim, ratio):
    scaling = {**YARN, "mscale": all_dim, "mscale_all_dim": all_dim}
    assert softmax_scale(192, scaling) * math.sqrt(192) == pytest.approx(ratio, abs=2e-4)
    assert magnitude(scaling) == 1.0


def test_unknown_scaling_is_refused():
    with pytest.raises(ConfigError, match="longrope"):
        Rope(RopeConfig(dims=8, scaling={"type": "longrope", "factor": 2}))
