"""Configs as anyone may have written them, beside transformers: refused, or the same logits.

    python tests/bench/config_fuzz.py GOLDENS [--count 5000] [--seed 0]

Needs torch and transformers, which this package does not: run it in an environment of its own.
Every golden config of a text model, as released and as transformers saves it, gets one to three
changes: other values, odd ones, missing and foreign keys, other rotations. What this package
builds is compared with transformers' model of the same config and random weights. Look at each
"different" one; known are: transformers ignores V2's `norm_topk_prob`, which DeepSeek's code does
not, and V3.2's indexer has exact ties, of which either token may be chosen.
"""

import argparse
import collections
import copy
import json
import random
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.layers.rope import mscale
from mlx_deepseek_convert import weights

torch: Any = import_module("torch")
transformers: Any = import_module("transformers")

CASES = ("deepseek_llm_7b", "deepseek_llm_67b", "deepseek_coder_6p7b", "deepseek_v2")
CASES += ("deepseek_v2_lite", "deepseek_v3", "deepseek_v32", "r1_0528_qwen3")
CASES += ("r1_distill_llama", "r1_distill_qwen")
LARGEST = 5_000_000  # parameters that are worth comparing
EXTRA: dict[str, list[Any]] = {
    "sliding_window": [4, None],
    "use_sliding_window": [True, False],
    "attention_bias": [True, False],
    "mlp_bias": [True, False],
    "head_dim": [8, 16, 32],
    "rope_interleave": [True, False],
    "partial_rotary_factor": [0.5, 1.0],
    "logit_scale": [0.5],
    "layer_types": [[kind] * 3 for kind in ("full_attention", "sliding_attention")],
    "mlp_layer_types": [["dense", "sparse", "sparse"], ["sparse"] * 3],
    "hidden_act": ["gelu", "silu"],
    "moe_layer_freq": [1, 2],
    "norm_topk_prob": [True, False],
    "scoring_func": ["softmax", "sigmoid"],
    "topk_method": ["greedy", "group_limited_greedy", "noaux_tc"],
    "n_group": [1, 2, None],
    "topk_group": [1, 2, None],
    "routed_scaling_factor": [1.0, 2.5],
    "tie_word_embeddings": [True, False],
}
ROPE: dict[str, list[Any]] = {
    "factor": [1.0, 2.0, 40, 0.5],
    "original_max_position_embeddings": [8, 4096],
    "beta_fast": [32, 4],
    "beta_slow": [1, 4],
    "mscale": [1.0, 0.707, 0],
    "mscale_all_dim": [1.0, 0.707, 0],
    "attention_factor": [1.0, 0.8],
    "attn_factor": [1.0, 0.878],
    "low_freq_factor": [1.0, 2.0],
    "high_freq_factor": [4.0, 8.0],
    "truncate": [True, False],
}


def rotation(chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(["yarn", "yarn", "linear", "llama3", "default", "dynamic"])
    keys = [key for key in ROPE if chance.random() < 0.6]
    return {"rope_type": kind, "rope_theta": 1e4, **{k: chance.choice(ROPE[k]) for k in keys}}


def near(value: Any, chance: random.Random) -> Any:
    """Another value of the same kind, more or less."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice([value + 1, value - 1, value * 2, value // 2, float(value)])
    if isinstance(value, float):
        return chance.choice([value * 2, value / 2, value + 0.1])
    return chance.choice([None, 1, "silu", [], {}, value])


def mutate(config: dict[str, Any], chance: random.Random) -> None:
    """Change one to three things."""
    odd = [None, True, -1, 0, 1.5, 10**9, float("nan"), "", "../../x", [], {}, "x" * 9999]
    for _ in range(chance.choice([1, 1, 2, 3])):
        way, key = chance.random(), chance.choice(sorted(config))
        if way < 0.15:
            del config[key]
        elif way < 0.5:
            config[key] = near(config[key], chance)
        elif way < 0.7:
            key = chance.choice(sorted(EXTRA))
            config[key] = copy.deepcopy(chance.choice(EXTRA[key]))
        elif way < 0.85:
            config["rope_parameters" if "rope_parameters" in config else "rope_scaling"] = rotation(
                chance
            )
        else:
            config[chance.choice([key, *EXTRA])] = copy.deepcopy(chance.choice(odd))


def theirs(config: dict[str, Any], seed: int) -> Any:
    """transformers' model with random weights; what this package reads on purpose is told it."""
    table = {k: v for k, v in config.items() if k not in ("architectures", "auto_map")}
    for key in ("rope_scaling", "rope_parameters"):
        turned = table.get(key)
        if isinstance(turned, dict) and "attn_factor" in turned and "factor" in turned:
            turned = dict(turned)  # R1-0528's, which transformers ignores
            turned["attention_factor"] = turned.pop("attn_factor") * mscale(turned["factor"], 1.0)
            table[key] = turned
    kind = transformers.models.auto.CONFIG_MAPPING[table.pop("model_type")]
    model = transformers.AutoModelForCausalLM.from_config(
        kind(**{**table, "num_nextn_predict_layers": 0}), attn_implementation="eager"
    ).float()
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in [*model.named_parameters(), *model.named_buffers()]:
            if "inv_freq" not in name:
                wide = p.ndim > 1 and "embed" not in name
                p.copy_(torch.randn(p.shape) * (1.5 / p.shape[-1] if wide else 1.0) ** 0.5 * 0.9)
                if "norm" in name:
                    p.mul_(0.1).add_(1.0)
    return model.eval()


def released_tensors(model: Any) -> dict[str, mx.array]:
    """Its weights by the releases' names, experts one by one."""
    out = {}
    for name, value in model.state_dict().items():
        start, _, last = name.rpartition(".")
        if start.endswith("experts"):
            halves = value.chunk(2, 1) if last == "gate_up_proj" else [value]
            names = ["gate_proj", "up_proj"] if last == "gate_up_proj" else [last]
            for kind, half in zip(names, halves, strict=True):
                out |= {f"{start}.{i}.{kind}.weight": one for i, one in enumerate(half)}
        elif not (model.config.tie_word_embeddings and name.startswith("lm_head")):
            out[name] = value
    return {name: mx.array(value.detach().float().numpy()) for name, value in out.items()}


def compare(config: dict[str, Any], seed: int) -> tuple[str, str]:
    """What came of a config, and why."""
    try:
        model = models.build(copy.deepcopy(config))
        if sum(array.size for _, array in tree_flatten(model.parameters())) > LARGEST:
            return "large", ""
        try:
            other = theirs(config, seed)
            ids = np.random.default_rng(seed).integers(0, other.config.vocab_size, (1, 24))
            with torch.no_grad():
                want = other(torch.tensor(ids), use_cache=False).logits.float().numpy()
        except Exception as error:  # whatever transformers refuses by
            return "refused there", f"{type(error).__name__}: {error}"
        config = models.without_mtp(config)
        with tempfile.TemporaryDirectory() as folder:
            mx.save_safetensors(f"{folder}/model.safetensors", released_tensors(other))
            (Path(folder) / "config.json").write_text(json.dumps(config))
            model = models.build(config)
            model.load_weights(list(weights(Path(folder), "float32")))
            error = np.abs(np.array(model(mx.array(ids))) - want).max() / want.std()
    except DeepSeekError as refusal:
        return "refused", str(refusal)
    except Exception as fault:
        return "fault", repr(fault)
    return ("equal" if error < 1e-3 else "different"), f"{error:.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("goldens", type=Path)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bases = []
    for case in CASES:
        bases.append(json.loads((args.goldens / case / "config.json").read_text()))
        with tempfile.TemporaryDirectory() as folder:
            transformers.AutoConfig.from_pretrained(args.goldens / case).save_pretrained(folder)
            bases.append(json.loads((Path(folder) / "config.json").read_text()))
    chance, results = random.Random(args.seed), collections.Counter[str]()
    for number in range(-len(bases), args.count):
        config = copy.deepcopy(bases[number] if number < 0 else chance.choice(bases))
        before = copy.deepcopy(config)
        if number >= 0:
            mutate(config, chance)
        result, why = compare(config, abs(number))
        results[result] += 1
        if result in ("different", "fault"):
            changed = {k: v for k, v in config.items() if before.get(k) != v}
            print(f"{config.get('model_type')} {changed!r:.300} {result}: {why:.200}", flush=True)
    print(dict(results))


if __name__ == "__main__":
    main()
