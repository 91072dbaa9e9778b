"""mlx-lm loads what the converter writes, and computes what we compute.

Its known limits, none of which these checkpoints hit: MTP layers are left out (they live in a file
that it does not read), and experts of groups that were not chosen get score 0 instead of minus
infinity, which differs from DeepSeek's code where correction biases are negative.
"""

import json

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_map
from mlx_lm.utils import load_model

from mlx_deepseek import models
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek.runtime.cpu import parallelise
from mlx_deepseek_convert import convert

CASES = {
    "deepseek_moe_16b": "deepseek",
    "deepseek_v2": "deepseek_v2",
    "deepseek_v2_lite": "deepseek_v2",
    "deepseek_v3": "deepseek_v3",
    "deepseek_v3_fp8": "deepseek_v3",
    "deepseek_v32": "deepseek_v32",
    "deepseek_v32_fp8": "deepseek_v32",
    "deepseek_llm_67b": "llama",
    "r1_distill_qwen": "qwen2",
    "r1_0528_qwen3": "qwen3",
}


def in_float32(model: nn.Module) -> nn.Module:
    """MLX's CPU build multiplies chosen experts in float32 only, and without a scale for each."""

    def cast(value: mx.array) -> mx.array:
        return value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value

    model.update(tree_map(cast, model.parameters()))
    return parallelise(model, cores=1) if mx.default_device().type == mx.DeviceType.cpu else model


def ours(folder, config: dict) -> nn.Module:
    """Our model with the folder's weights, quantized as its config.json says."""
    model = models.build(config)
    quantization = config.get("quantization")
    if quantization is not None:
        keys = ("group_size", "bits", "mode")
        default = {key: quantization[key] for key in keys}
        eligible = [p for p, m in model.named_modules() if hasattr(m, "to_quantized")]
        chosen = {path: quantization.get(path, default) for path in eligible}
        stored = [name for path in folder.glob("*.safetensors") for name in read_header(path)[0]]
        for name in stored:
            path, _, kind = name.rpartition(".")
            if kind == "global_scale":
                chosen[path] = {**chosen[path], "global_scale": True}
        nn.quantize(model, class_predicate=lambda path, _: chosen.get(path, False))
    for path in folder.glob("*.safetensors"):
        model.load_weights(str(path), strict=False)
    return model


@pytest.mark.parametrize("recipe", ["bf16", "4bit", "2bit", "mxfp8", "mxfp4", "nvfp4"])
@pytest.mark.parametrize("case", list(CASES))
def test_mlx_lm_agrees(goldens_root, goldens, tmp_path, case, recipe):
    convert(goldens_root / case, tmp_path / "out", recipe)
    theirs, config = load_model(tmp_path / "out")
    assert config["model_type"] == CASES[case]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    ids = goldens(case)["input_ids"]
    expected = in_float32(theirs)(ids)
    logits = in_float32(ours(tmp_path / "out", config))(ids)
    if case == "r1_0528_qwen3":  # mlx-lm ignores attn_factor; ours makes it cancel YaRN's
        plain = {**config, "rope_scaling": {**config["rope_scaling"]}}
        del plain["rope_scaling"]["attn_factor"]
        logits = in_float32(ours(tmp_path / "out", plain))(ids)
    assert mx.abs(logits - expected).max() <= 1e-4 * mx.sqrt(mx.var(expected))
