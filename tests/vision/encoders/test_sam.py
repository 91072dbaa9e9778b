"""SAM with its compressor against the official code, at its own size and at a smaller one."""

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint.load_weights import load_source
from mlx_deepseek.vision.encoders import sam
from mlx_deepseek.vision.encoders.sam import RelativeAttention, SAMConfig, WindowBlock
from tests.models.test_parity import LIMIT, relative


@pytest.fixture(scope="module")
def model(goldens_root):
    return load_source(goldens_root / "deepseek_ocr", mx.float32)[0].vision.sam


def normalised(pixels: mx.array) -> mx.array:
    """Stored bytes [B, 3, h, w] as the model takes them."""
    return ((pixels.astype(mx.float32) / 255 - 0.5) / 0.5).transpose(0, 2, 3, 1)


@pytest.fixture(params=["global", "local"])
def case(request, goldens):
    """Pixels of the tables' size (16 x 16 patches) or of another (12 x 12), and features."""
    golden = goldens("deepseek_ocr")
    features = golden[f"{request.param}.sam"].transpose(0, 2, 3, 1)
    return normalised(golden[f"{request.param}_u8"]), features


def test_features(model, case):
    pixels, features = case
    assert relative(model(pixels), features) <= LIMIT


def test_a_few_rows_of_queries_at_a_time(model, case, monkeypatch):
    pixels, features = case
    monkeypatch.setattr(sam, "SCORES_AT_A_TIME", 1)
    assert relative(model(pixels), features) <= LIMIT


def test_one_blocks_relative_rows_would_be_missed(model, case):
    pixels, features = case
    attention = model.blocks[1].attn
    kept, attention.rel_pos_h = attention.rel_pos_h, mx.zeros_like(attention.rel_pos_h)
    assert relative(model(pixels), features) > 10 * LIMIT
    attention.rel_pos_h = kept


def test_positions_relative_to_the_query():
    """One query attends to the key below it, because of the table's entry for -1."""
    attention = RelativeAttention(width=2, heads=1, side=3)
    attention.qkv.weight = mx.array([[1.0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 1.0]])
    attention.qkv.bias = mx.zeros(6)
    attention.proj.weight, attention.proj.bias = mx.eye(2), mx.zeros(2)
    attention.rel_pos_h = mx.array([[0.0, 0], [1000.0, 0], [0, 0], [0, 0], [0, 0]])
    places = mx.arange(9, dtype=mx.float32).reshape(1, 3, 3)
    out = attention(mx.stack([mx.ones_like(places), places], axis=-1))[..., 1]
    # Rows 0 and 1 take the mean of the row below, row 2 has none below it.
    assert mx.allclose(out[0, :, 0], mx.array([4.0, 7.0, 4.0]))


def test_windows_see_their_own_patches_and_the_zeros_at_the_edge():
    block = WindowBlock(SAMConfig(width=4, heads=1, window=2), window=2)
    x = mx.random.normal((1, 3, 3, 4))
    whole = block.attend(x)
    alone = block.attend(mx.concatenate([x[:, :2, :2], mx.ones((1, 2, 1, 4))], axis=2))
    assert mx.allclose(whole[:, :2, :2], alone[:, :, :2], atol=1e-6)
    corner = block.attn(mx.pad(x[:, 2:, 2:], [(0, 0), (0, 1), (0, 1), (0, 0)]))
    assert mx.allclose(whole[:, 2, 2], corner[:, 0, 0], atol=1e-6)
