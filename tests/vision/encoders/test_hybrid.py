"""DeepSeek-VL-7B's two encoders against the official code."""

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint.load_weights import load_source
from mlx_deepseek.vision.encoders.resize import resize
from tests.models.test_parity import LIMIT, relative


@pytest.fixture(scope="module")
def model(goldens_root):
    return load_source(goldens_root / "deepseek_vl_7b", mx.float32)[0].vision


@pytest.fixture(scope="module")
def golden(goldens):
    return goldens("deepseek_vl_7b")


@pytest.fixture(scope="module")
def pixels(golden):
    return golden["pixel_u8.0"].astype(mx.float32).transpose(0, 2, 3, 1) / 255


def test_features(model, golden, pixels):
    high, low = model(pixels)
    assert relative(high, golden["und1.high_features"]) <= LIMIT
    assert relative(low, golden["und1.low_features"]) <= LIMIT


def test_the_small_picture_is_an_antialiased_one(model, golden, pixels):
    small = golden["und1.low_pixels"].transpose(0, 2, 3, 1)
    assert relative(model.shrink(pixels), small) <= LIMIT
    plain = resize(pixels, small.shape[1:3], "bilinear", antialias=False)
    assert relative(plain, small) > 10 * LIMIT


def test_the_first_global_blocks_detail_is_added(model, golden, pixels):
    """With a weight of zero only the last features are left."""
    high = model.high
    kept, high.hd_alpha_downsamples = high.hd_alpha_downsamples, mx.zeros((1,))
    assert relative(model(pixels)[0], golden["und1.high_features"]) > 10 * LIMIT
    high.hd_alpha_downsamples = kept
