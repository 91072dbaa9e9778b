"""Llama and Qwen checkpoints (LLM, Coder V1, Math, Prover, the R1 distills) on mlx-lm's classes."""

import inspect
from importlib import import_module

import mlx.nn as nn

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.rope import Json, mscale, scaling_type
from mlx_deepseek.models.config_reader import refuse_unknown

# What transformers assumes where a file is silent and mlx-lm assumes something else.
DEFAULTS = {"tie_word_embeddings": False, "rope_theta": 10_000.0}

# What this package takes from mlx-lm, which has many more.
MODULES = ("llama", "qwen2", "qwen3")

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
    if name not in MODULES:
        raise ConfigError(
            f"config.json has a language model of type {name!r:.60}. Expected one of "
            f"{', '.join(MODULES)}."
        )
    module = import_module(f"mlx_lm.models.{name}")
    known = set(inspect.signature(module.ModelArgs).parameters)
    config = check_heads({k: v for k, v in config.items() if v is not None}, known)
    refuse_unknown(config, known | set(FIXED), name)
    for key, value in FIXED.items():
        if key not in known and config.get(key, value) != value:
            raise ConfigError(
                f"config.json of model type {name!r} has {key} = {config[key]!r:.60}; "
                f"this version computes {value!r} and would give wrong results."
            )
    try:
        return module.Model(module.ModelArgs.from_dict(DEFAULTS | normalise(config)))
    except (TypeError, KeyError, ValueError) as error:
        raise ConfigError(f"config.json of model type {name!r} is incomplete: {error}.") from error


def check_heads(config: Json, known: set[str]) -> Json:
    """The config without a `head_dim` that says nothing new.

    Raises:
        ConfigError: heads that do not divide into each other, or are of a width of their own.
    """
    hidden, heads = config.get("hidden_size", 0), config.get("num_attention_heads", 1)
    groups = config.get("num_key_value_heads", heads)
    width = config.get("head_dim", hidden // heads)
    if heads % groups or width % 2 or ("head_dim" not in config and hidden % heads):
        raise ConfigError(
            f"config.json has {heads} heads in {groups} groups for a width of {hidden}. Expected "
            "numbers that divide into each other, and heads of an even width."
        )
    if "head_dim" in known or "head_dim" not in config:
        return config
    if width != hidden // heads:
        raise ConfigError(
            f"config.json has head_dim = {width}; this version computes {hidden // heads} and "
            "would give wrong results."
        )
    return {key: value for key, value in config.items() if key != "head_dim"}


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
