"""Registry: from a config.json to a model whose weights are not there yet."""

from collections.abc import Callable, Mapping

import mlx.nn as nn

from mlx_deepseek.config import Json
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.models import (
    deepseek,
    deepseek_ocr,
    deepseek_v2,
    deepseek_v3,
    deepseek_v32,
    deepseek_vl,
    deepseek_vl2,
    dense,
)

Builder = Callable[[Json, str | None], nn.Module]

ARCHITECTURES: Mapping[str, Builder] = {
    "deepseek": deepseek.build,
    "deepseek_v2": deepseek_v2.build,
    "deepseek_v3": deepseek_v3.build,
    "deepseek_v32": deepseek_v32.build,
    "deepseek_vl": deepseek_vl.build,
    "deepseek_vl2": deepseek_vl2.build,
    "deepseek_ocr": deepseek_ocr.build,
    "llama": dense.build,
    "qwen2": dense.build,
    "qwen3": dense.build,
}

# What tells releases apart that share a model_type: the name of their vision encoder.
ENCODERS: Mapping[str, str] = {"deeplip_b_l": "deepseek_ocr", "deepencoderv2": "deepseek_ocr2"}
# What releases call models that this package has under their own names.
ALIASES: Mapping[str, str] = {"deepseek_vl_v2": "deepseek_vl2", "multi_modality": "deepseek_vl"}

# Building more would take minutes and say nothing; no released model has a hundred.
MAX_LAYERS = 1000


def architecture(config: Json) -> str:
    """The name, in ARCHITECTURES, of what a config describes.

    Raises:
        ConfigError: this version does not have it.
    """
    name = describe(config)
    if name not in ARCHITECTURES:
        raise ConfigError(
            f"config.json has model_type {config.get('model_type')!r}; this version knows "
            f"{', '.join(ARCHITECTURES)}. Update mlx-deepseek, or choose another checkpoint."
        )
    return name


def known(config: Json) -> bool:
    """Whether this version has the architecture that a config describes."""
    return describe(config) in ARCHITECTURES


def describe(config: Json) -> str:
    """What a config describes, known or not: its model_type, where that says enough."""
    name = str(config.get("model_type"))
    if name == "multi_modality" and "aligner_config" not in config:
        return "janusflow"
    if "gen_vision_config" in config:
        return "janus"
    vision = config.get("vision_config")
    encoder = str(vision.get("model_name")) if isinstance(vision, Mapping) else ""
    return ENCODERS.get(encoder, ALIASES.get(name, name))


def build(config: Json, layout: str | None = None) -> nn.Module:
    """Build the model that `config` describes; MLX is lazy, so no memory is taken.

    `layout` chooses how MLA's up-projections are stored: "kv_b_proj" (one matrix, as in HF),
    "split" (`embed_q` and `unembed_out`), or None for what mlx-lm stores for the architecture.

    Raises:
        ConfigError: unknown architecture, missing key, or a key that could change the computation.
    """
    name = architecture(config)
    for key in ("num_hidden_layers", "num_nextn_predict_layers"):
        count = language_config(config).get(key)
        if isinstance(count, int) and count > MAX_LAYERS:
            raise ConfigError(
                f"config.json has {key} {count}. Expected at most {MAX_LAYERS}; take "
                "config.json from the original repository."
            )
    try:
        return ARCHITECTURES[name](config, layout)
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ConfigError(
            f"config.json of model type {name!r} has a value of the wrong kind or size: {error}. "
            "Take config.json from the original repository."
        ) from error


def language_config(config: Json) -> Json:
    """The part of a config that describes the text model: all of it, if it has no other."""
    language = config.get("language_config")
    return language if isinstance(language, Mapping) else config
