"""CLIP on SAM's features against the official code."""

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint.load_weights import load_source
from mlx_deepseek.vision.encoders.vit import quick_gelu
from tests.models.test_parity import LIMIT, relative


@pytest.fixture(scope="module")
def model(goldens_root):
    return load_source(goldens_root / "deepseek_ocr", mx.float32)[0].vision.clip


@pytest.mark.parametrize("view", ["global", "local"])
def test_features(model, goldens, view):
    """At the position table's size (4 x 4) and at a smaller one (3 x 3)."""
    golden = goldens("deepseek_ocr")
    patches = golden[f"{view}.sam"].transpose(0, 2, 3, 1)
    assert relative(model(patches), golden[f"{view}.clip"]) <= LIMIT


def test_another_gelu_would_be_noticed(model, goldens):
    golden = goldens("deepseek_ocr")
    patches = golden["global.sam"].transpose(0, 2, 3, 1)
    for block in model.blocks:
        block.mlp.activation = lambda x: 0.5 * x * (1 + mx.erf(x / 2**0.5))
    assert relative(model(patches), golden["global.clip"]) > 10 * LIMIT
    for block in model.blocks:
        block.mlp.activation = quick_gelu


def test_the_class_token_keeps_its_place_when_the_table_grows(model):
    table = model.positions(6, 5)
    assert table.shape == (31, model.position_embedding.shape[1])
    assert mx.array_equal(table[0], model.position_embedding[0])
