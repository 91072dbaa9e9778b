"""Converting holds a few source tensors at a time, however many experts a layer has."""

import json
import tracemalloc
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint.safetensors_header import build_header
from mlx_deepseek_convert import convert
from mlx_deepseek_convert.write.pipeline import AHEAD
from mlx_deepseek_convert.write.writer import WAITING
from tests.convert.released import released_tensors

EXPERT_BYTES = 2 << 20


@pytest.fixture
def many_experts(golden_config, tmp_path) -> Path:
    """A checkpoint of zeros with 36 experts of 1024 x 1024 per layer: 230 MB that take no disk."""
    config = golden_config("deepseek_v2_lite") | {
        "hidden_size": 1024,
        "moe_intermediate_size": 1024,
        "n_routed_experts": 36,
        "num_hidden_layers": 2,
    }
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    entries = {name: (dtype, shape) for name, dtype, shape in released_tensors(config)}
    header, starts = build_header(entries, {"format": "pt"})
    assert list(starts)[-1] == "lm_head.weight"
    with (folder / "model.safetensors").open("wb") as file:
        file.write(header)
        file.truncate(starts["lm_head.weight"] + 2 * config["vocab_size"] * 1024)
    return folder


@pytest.mark.parametrize("recipe", ["bf16", "4bit"])
def test_memory_is_a_few_experts_not_a_layer(many_experts, tmp_path, recipe):
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    tracemalloc.start()
    report = convert(many_experts, tmp_path / "out", recipe)
    _, numpy_peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert report.bytes_in > 100 * EXPERT_BYTES
    # What waits to be computed and to be written, however busy the machine is, and what is being
    # computed; a layer has 108 such matrices.
    assert mx.get_peak_memory() - before < (AHEAD + WAITING + 10) * EXPERT_BYTES
    assert numpy_peak < (AHEAD + 10) * EXPERT_BYTES
