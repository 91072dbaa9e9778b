"""A checkpoint run layer after layer gives what the whole model gives, in less memory."""

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint import load_model, load_source
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import convert
from mlx_deepseek_convert.quality.layerwise import Stream

CASES = [
    "deepseek_moe_16b",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v3_fp8",
    "r1_distill_qwen",
    "r1_0528_qwen3",
]


def logits(stream: Stream, ids: mx.array) -> mx.array:
    (state,) = stream.hidden([ids])
    with stream.head() as head:
        return head(state)


@pytest.mark.parametrize("case", CASES)
def test_a_source_in_layer_order_is_the_whole_model(goldens_root, goldens, case):
    ids = goldens(case)["input_ids"]
    whole, _ = load_source(goldens_root / case, mx.float32)
    expected = whole(ids)
    found = logits(Stream(goldens_root / case), ids)
    assert mx.abs(found - expected).max() <= 1e-5 * mx.sqrt(mx.var(expected))


@pytest.mark.parametrize("case", CASES)
def test_a_conversion_in_layer_order_is_the_whole_model(goldens_root, goldens, tmp_path, case):
    convert(goldens_root / case, tmp_path / "out", "4bit")
    ids = goldens(case)["input_ids"]
    whole, _ = load_model(tmp_path / "out", dtype=mx.float32)
    expected = whole(ids)
    found = logits(Stream(tmp_path / "out"), ids)
    assert mx.abs(found - expected).max() <= 1e-5 * mx.sqrt(mx.var(expected))


def test_values_leave_memory_with_their_part(goldens_root):
    stream = Stream(goldens_root / "deepseek_v3")
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
        logits(Stream(tmp_path / "out"), goldens("deepseek_v2")["input_ids"])
