"""mlx-lm's own quantization tools work on our classes as on its own."""

import json

import mlx.core as mx
import mlx.optimizers as optim
import numpy as np
import pytest
from mlx_lm.quant import awq, dwq, dynamic_quant, gptq
from mlx_lm.utils import _get_classes, quantize_model

from mlx_deepseek import models

IDS = mx.random.randint(3, 60, (4, 16), key=mx.random.key(0))


SIZES = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "moe_intermediate_size": 64,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 32,
    "v_head_dim": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "index_head_dim": 64,
    "head_dim": 32,
    "vocab_size": 64,
    "num_nextn_predict_layers": 0,
}


@pytest.fixture(params=["ours", "theirs"])
def loaded(request):
    """A function that makes a random model of a golden's config in sizes that can be quantized."""

    def load(folder):
        config = json.loads((folder / "config.json").read_text())
        config |= {key: size for key, size in SIZES.items() if key in config}
        config |= {"q_lora_rank": 32} if config.get("q_lora_rank") else {}
        config.pop("quantization_config", None)
        mx.random.seed(7)
        if request.param == "ours":
            model = models.build(config)
        else:
            model_class, arguments = _get_classes(config)
            model = model_class(arguments.from_dict(config))
        mx.eval(model.parameters())
        return model

    return load


CASES = ["deepseek_moe_16b", "deepseek_v2_lite", "deepseek_v3", "deepseek_v32", "r1_distill_qwen"]


def distance(model, expected) -> float:
    return (mx.abs(model(IDS) - expected).mean() / mx.sqrt(mx.var(expected))).item()


@pytest.mark.parametrize("case", CASES)
def test_gptq(goldens_root, loaded, case):
    model = loaded(goldens_root / case)
    expected = model(IDS)
    model, _ = gptq.gptq_quantize(model, IDS, 8, 32, 8, 32)
    assert distance(model, expected) < 0.1


@pytest.mark.parametrize("case", CASES)
def test_dynamic(goldens_root, loaded, case):
    model = loaded(goldens_root / case)
    found = dict(dynamic_quant.estimate_sensitivities(model, IDS, 4, 32, 8, 32))
    assert set(found) >= {"lm_head"}
    dynamic_quant.estimate_threshold(model, found, 6.0, 4, 32, 8, 32)


@pytest.mark.parametrize("case", CASES)
def test_dwq(goldens_root, loaded, case):
    teacher, model = loaded(goldens_root / case), loaded(goldens_root / case)
    expected = teacher(IDS)
    model, _ = quantize_model(model, {}, group_size=32, bits=4)
    before = distance(model, expected)
    rows = [(row, 0) for row in np.array(IDS).tolist()]
    dwq.dwq_quantize(
        model,
        lambda ids, step, split: teacher(ids),
        optim.Adam(1e-4, bias_correction=True),
        rows * 4,
        rows,
        batch_size=4,
        max_seq_length=32,
        seed=0,
        dtype=mx.float32,
    )
    after = distance(model, expected)
    assert after < 1  # so few steps on a random model make it no better
    assert after != before


# mlx-lm knows where to put AWQ's scales in these; the others it refuses, its own classes too.
@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("deepseek_v2_lite", "deepseek_v2"),
        ("deepseek_llm_67b", "llama"),
        ("r1_distill_qwen", "qwen2"),
        ("r1_0528_qwen3", "qwen3"),
    ],
)
def test_awq(goldens_root, loaded, case, kind):
    model = loaded(goldens_root / case)
    expected = model(IDS)
    how = {"bits": 8, "group_size": 32, "embed_bits": 8, "embed_group_size": 32, "n_grid": 2}
    awq.awq_quantize(model, IDS, awq.AWQ_MODEL_CONFIGS[kind], **how)
    assert distance(model, expected) < 0.1
