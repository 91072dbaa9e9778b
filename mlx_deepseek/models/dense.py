"""Llama and Qwen checkpoints (LLM, Coder V1, Math, Prover, the R1 distills) on mlx-lm's classes."""

import inspect
from importlib import import_module

import mlx.nn as nn

from mlx_deepseek.config import Json, refuse_unknown
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.rope import mscale, scaling_type

# What transformers assumes where a file is silent and mlx-lm assumes something else.
DEFAULTS = {"tie_word_embeddings": False}

# What mlx-lm's classes compute where they have no such argument.
FIXED = {
    "hidden_act": "silu",
    "use_sliding_window": False,
    "use_mrope": False,
    "attention_bias": False,
    "mlp_bias": False,
}


def build(config: Json, layout: str | None = None) -> nn.Module:
    """mlx-lm's own model of a `llama`, `qwen2` or `qwen3` config.

    Raises:
        ConfigError: a key is missing or unknown, or asks for what mlx-lm's class does not compute.
    """
    name = config["model_type"]
    module = import_module(f"mlx_lm.models.{name}")
    known = set(inspect.signature(module.ModelArgs).parameters)
    refuse_unknown(config, known | set(FIXED), name)
    for key, value in FIXED.items():
        if key not in known and config.get(key, value) != value:
            raise ConfigError(
                f"config.json of model type {name!r} has {key} = {config[key]!r}; "
                f"this version computes {value!r} and would give wrong results."
            )
    try:
        return module.Model(module.ModelArgs.from_dict(DEFAULTS | normalise(config)))
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(f"config.json of model type {name!r} is incomplete: {error}.") from error


def normalise(config: Json) -> dict:
    """The config with YaRN's `attn_factor` expressed in keys that mlx-lm reads.

    R1-0528-Qwen3-8B releases `attn_factor` 0.878 = 1 / (0.1 ln 4 + 1). transformers ignores the key
    and scales rotated vectors by 1.139; vLLM and SGLang multiply, which gives exactly 1. The value
    has no other purpose than this product, so the product is what we compute.
    """
    scaling = config.get("rope_scaling")
    if not scaling or scaling_type(scaling) != "yarn" or "attn_factor" not in scaling:
        return dict(config)
    factor = float(scaling["factor"])
    product = scaling["attn_factor"] * mscale(factor, 1.0)
    weight = (product - 1.0) / (mscale(factor, 1.0) - 1.0)  # mscale(factor, weight) == product
    weight = 0.0 if abs(weight) < 1e-6 else weight
    rest = {key: value for key, value in scaling.items() if key != "attn_factor"}
    return {**config, "rope_scaling": {**rest, "mscale": weight, "mscale_all_dim": 0}}
