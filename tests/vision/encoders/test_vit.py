"""What all encoders share."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from mlx_deepseek.vision.encoders.vit import PatchEmbed, quick_gelu


@pytest.mark.parametrize("size", [(8, 12), (9, 15)])
def test_patches_are_a_convolution(size):
    patches = PatchEmbed(4, 6)
    pixels = mx.random.normal((2, *size, 3))
    expected = nn.Conv2d.__call__(patches.proj, pixels)
    assert np.allclose(patches(pixels), expected, atol=1e-5)


def test_encoders_compute_in_the_type_of_their_weights():
    patches = PatchEmbed(4, 6)
    patches.set_dtype(mx.bfloat16)
    assert patches(mx.zeros((1, 8, 8, 3))).dtype == mx.bfloat16


def test_quick_gelu():
    x = mx.array([-2.0, 0.0, 1.0])
    assert np.allclose(quick_gelu(x), [-2 / (1 + np.exp(3.404)), 0, 1 / (1 + np.exp(-1.702))])
