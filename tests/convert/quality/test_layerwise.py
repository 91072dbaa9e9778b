"""A checkpoint run layer after layer gives what the whole model gives, in less memory."""

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

from mlx_deepseek.checkpoint.load_weights import load_model, load_source
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.generation.prompt_images import PlacedImages, PromptImages
from mlx_deepseek_convert import convert
from mlx_deepseek_convert.quality.layerwise import LayerwiseModel
from mlx_deepseek_convert.quality.texts import ScoredBatch

CASES = [
    "deepseek_moe_16b",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v3_fp8",
    "r1_distill_qwen",
    "r1_0528_qwen3",
    "deepseek_v32",
    "deepseek_v4_fp4",
    "deepseek_v4_vision",
    "deepseek_vl_7b",
    "deepseek_vl2_tiny",
    "deepseek_ocr",
]


IDS = mx.array([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]])


def logits(stream: LayerwiseModel, ids: mx.array, placed: PlacedImages | None = None) -> mx.array:
    (state,) = stream.hidden([ScoredBatch(ids, mx.zeros(len(ids), mx.int32), placed or {})])
    with stream.part(stream.head) as head:
        return stream.project(head, state)


@pytest.mark.parametrize("case", CASES)
def test_a_source_in_layer_order_is_the_whole_model(goldens_root, goldens, case):
    ids = goldens(case).get("input_ids", IDS)
    whole, _ = load_source(goldens_root / case, mx.float32)
    expected = whole(ids)
    found = logits(LayerwiseModel(goldens_root / case), ids)
    assert mx.abs(found - expected).max() <= 1e-5 * mx.sqrt(mx.var(expected))


@pytest.mark.parametrize("case", CASES)
def test_a_conversion_in_layer_order_is_the_whole_model(goldens_root, goldens, tmp_path, case):
    convert(goldens_root / case, tmp_path / "out", "4bit")
    ids = goldens(case).get("input_ids", IDS)
    whole, _ = load_model(tmp_path / "out", dtype=mx.float32)
    expected = whole(ids)
    found = logits(LayerwiseModel(tmp_path / "out"), ids)
    assert mx.abs(found - expected).max() <= 1e-5 * mx.sqrt(mx.var(expected))


@pytest.mark.parametrize("case", ["deepseek_vl2_tiny", "deepseek_ocr"])
def test_pictures_take_their_places(goldens_root, case):
    """In one row: the picture's features, and the places that are no tokens."""
    stream = LayerwiseModel(goldens_root / case)
    model, _ = load_source(goldens_root / case, mx.float32)
    draw = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    encoder = PromptImages(model)
    row, placed = encoder.place([5, 3, 7, 8], 3, [Image.fromarray(draw)])
    expected = model(mx.maximum(mx.array([row]), 0), input_embeddings=encoder.embed(row, placed))
    found = logits(stream, mx.array([row]), placed)
    assert mx.abs(found - expected).max() <= 1e-5 * mx.sqrt(mx.var(expected))
    before = mx.get_active_memory()
    stream.embed([ScoredBatch(mx.array([row]), mx.array([1]), placed)])
    assert mx.get_active_memory() <= before + (1 << 20)  # the encoders have left


def test_values_leave_memory_with_their_part(goldens_root):
    stream = LayerwiseModel(goldens_root / "deepseek_v3")
    largest = 0
    for path in stream.layers:
        before = mx.get_active_memory()
        with stream.part(path) as layer:
            largest = max(largest, mx.get_active_memory() - before)
            assert layer.input_layernorm.weight.shape
        del layer
        assert mx.get_active_memory() <= before + 4096
    assert largest > 10 * 4096


def test_a_damaged_conversion_is_named(goldens_root, goldens, tmp_path):
    convert(goldens_root / "deepseek_v2", tmp_path / "out", "bf16")
    tensors = mx.load(str(tmp_path / "out" / "model.safetensors"))
    del tensors["model.layers.1.input_layernorm.weight"]
    mx.save_safetensors(str(tmp_path / "out" / "model.safetensors"), tensors)
    (tmp_path / "out" / "model.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match=r"model\.layers\.1 cannot be read"):
        logits(LayerwiseModel(tmp_path / "out"), goldens("deepseek_v2")["input_ids"])
