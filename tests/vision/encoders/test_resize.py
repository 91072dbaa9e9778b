"""Resizing, with Pillow and plain sums as the judges: PyTorch's antialiasing is Pillow's."""

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from mlx_deepseek.vision.encoders.resize import resize, resize_table, weights

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SIZES = [((16, 16), (12, 12)), ((16, 16), (20, 20)), ((7, 13), (9, 4)), ((64, 64), (40, 40))]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("kind", PILLOW)
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_antialiased_as_pillow_resizes_floats(kind, source, target):
    values = noise(*source)
    size = target[1], target[0]
    expected = np.asarray(Image.fromarray(values).resize(size, PILLOW[kind]))
    found = resize(mx.array(values)[..., None], target, kind, antialias=True)[..., 0]
    assert np.abs(np.asarray(found) - expected).max() < 1e-5


def test_bilinear_as_the_manual_of_pytorch_shows_it():
    found = resize(mx.array([[[1.0], [2.0]], [[3.0], [4.0]]]), (4, 4), "bilinear", antialias=False)
    column, row = np.array([0.0, 0.5, 1.5, 2.0])[:, None], np.array([1.0, 1.25, 1.75, 2.0])
    assert np.allclose(np.asarray(found[..., 0]), row + column, atol=1e-6)


@pytest.mark.parametrize("target", [5, 8, 20])
def test_without_antialiasing_a_line_is_read_between_its_points(target):
    """Linear is interpolation; cubic is Keys' kernel at -0.75, the edges repeated."""
    values = noise(11)
    places = (np.arange(target) + 0.5) * 11 / target - 0.5
    linear = np.interp(places, np.arange(11), values)
    assert np.allclose(weights(11, target, "bilinear", False) @ values, linear, atol=1e-5)

    first = np.floor(places).astype(int)
    t = places - first
    padded = np.pad(values, 4, mode="edge")
    p, q, r, s = (padded[first + 4 + offset] for offset in (-1, 0, 1, 2))
    a = -0.75
    cubic = a * t * (1 - t) ** 2 * p + ((a + 2) * t**3 - (a + 3) * t**2 + 1) * q
    u = 1 - t
    cubic += ((a + 2) * u**3 - (a + 3) * u**2 + 1) * r + a * u * (1 - u) ** 2 * s
    assert np.allclose(weights(11, target, "bicubic", False) @ values, cubic, atol=1e-5)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("kind", PILLOW)
def test_one_colour_stays(kind, antialias):
    found = resize(mx.full((2, 9, 5, 3), 0.7), (4, 11), kind, antialias=antialias)
    assert found.shape == (2, 4, 11, 3)
    assert np.allclose(np.asarray(found), 0.7, atol=1e-6)


def test_tables_keep_their_type_and_their_length():
    table = mx.array(noise(27, 4)).astype(mx.bfloat16)
    assert resize_table(table, 27) is table
    longer = resize_table(table, 31)
    assert (longer.shape, longer.dtype) == ((31, 4), mx.bfloat16)
