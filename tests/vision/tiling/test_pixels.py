"""Pictures in other sizes: the bytes of every Pillow that the package allows."""

from hashlib import sha256

import numpy as np
import pytest
from PIL import Image, ImageOps

from mlx_deepseek.vision.tiling.pixels import GREY, fitted, resized


def noise(width, height):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize(
    ("size", "target", "digest"),
    [
        ((37, 301), (64, 64), "c742fb73c62febfc"),
        ((301, 37), (64, 64), "7036f81537628e11"),
        ((50, 400), (384, 96), "db70ff99959b3754"),
    ],
)
def test_resized_rows_first(size, target, digest):
    """Digests of Pillow 12.3, whose single call gives the same; 13 differs in tall pictures."""
    picture = resized(noise(*size), target)
    assert sha256(picture.tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("size", [(64, 64), (100, 37), (37, 100), (63, 65), (60, 1), (1, 60)])
@pytest.mark.parametrize("target", [(64, 64), (140, 70), (33, 90)])
def test_fitted_is_where_pillow_pads(size, target):
    ours, pillows = fitted(noise(*size), target), ImageOps.pad(noise(*size), target, color=GREY)
    difference = np.asarray(ours).astype(int) - np.asarray(pillows)
    assert np.abs(difference).max() <= 1
