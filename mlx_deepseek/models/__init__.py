"""Registry: from a config.json to a model whose weights are not there yet."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import mlx.nn as nn

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models import (
    autoencoder_kl,
    deepseek,
    deepseek_ocr,
    deepseek_ocr2,
    deepseek_v2,
    deepseek_v3,
    deepseek_v4,
    deepseek_v32,
    deepseek_v41,
    deepseek_vl,
    deepseek_vl2,
    dense,
    janus,
    janusflow,
)
from mlx_deepseek.models.transformers_keys import released
from mlx_deepseek.models.values import check_values


def layout(weights: Iterable[str]) -> str | None:
    """How MLA's up-projections are stored; mlx-community's older V3 checkpoints have kv_b_proj."""
    for part, name in ((".kv_b_proj.", "kv_b_proj"), (".embed_q.", "split")):
        if any(part in tensor for tensor in weights):
            return name
    return None


Builder = Callable[[Json, str | None], nn.Module]


ARCHITECTURES: Mapping[str, Builder] = {
    "deepseek": deepseek.build,
    "deepseek_v2": deepseek_v2.build,
    "deepseek_v3": deepseek_v3.build,
    "deepseek_v32": deepseek_v32.build,
    "deepseek_v4": deepseek_v4.build,
    "deepseek_v41": deepseek_v41.build,
    "deepseek_vl": deepseek_vl.build,
    "deepseek_vl2": deepseek_vl2.build,
    "deepseek_ocr": deepseek_ocr.build,
    "deepseek_ocr2": deepseek_ocr2.build,
    "janus": janus.build,
    "janusflow": janusflow.build,
    "llama": dense.build,
    "qwen2": dense.build,
    "qwen3": dense.build,
}


# Checkpoints that are parts of other models, and are converted and loaded by themselves.
PARTS: Mapping[str, Builder] = {"autoencoder_kl": autoencoder_kl.build}

# What tells releases apart that share a model_type: the name of their vision encoder.
ENCODERS: Mapping[str, str] = {"deeplip_b_l": "deepseek_ocr", "deepencoderv2": "deepseek_ocr2"}


# What releases call models that this package has under their own names.
ALIASES: Mapping[str, str] = {"deepseek_vl_v2": "deepseek_vl2", "multi_modality": "deepseek_vl"}


MTP_KEY = "num_nextn_predict_layers"


def architecture(config: Json) -> str:
    """The name, in ARCHITECTURES or PARTS, of what a config describes.

    Raises:
        ConfigError: this version does not have it.
    """
    name = describe(config)
    if name not in ARCHITECTURES and name not in PARTS:
        raise ConfigError(
            f"config.json has model_type {config.get('model_type')!r:.60}; this version knows "
            f"{', '.join(ARCHITECTURES)}. Update mlx-deepseek, or choose another checkpoint."
        )
    return name


def known(config: Json) -> bool:
    """Whether this version has the architecture that a config describes."""
    return describe(config) in ARCHITECTURES


def describe(config: Json) -> str:
    """What a config describes, known or not: its model_type, where that says enough."""
    name = str(config.get("model_type"))
    if config.get("_class_name") == "AutoencoderKL":
        return "autoencoder_kl"
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
    try:
        config = released(config)
        check_values(config)
        return {**ARCHITECTURES, **PARTS}[name](config, layout)
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
            f"config.json of model type {name!r} has a value of the wrong kind or size: "
            f"{error!s:.200}. "
            "Take config.json from the original repository."
        ) from error


def require_language(model: nn.Module, name: str) -> None:
    """Refuse a model that generates no text: a VAE is a part of another checkpoint's model.

    Raises:
        ConfigError: it has no decoder layers.
    """
    if not hasattr(model, "layers"):
        raise ConfigError(
            f"{name} is an autoencoder, a part of JanusFlow, and generates nothing alone. Load "
            "deepseek-ai/JanusFlow-1.3B, which fetches it."
        )


def language_config(config: Json) -> Json:
    """The part of a config that describes the text model: all of it, if it has no other."""
    language = config.get("language_config", config.get("text_config"))
    return language if isinstance(language, Mapping) else config


def mtp_layers(config: Json) -> int:
    """How many layers a config says predict or draft further tokens."""
    count = language_config(config).get(MTP_KEY) or 0
    if not isinstance(count, int) or count < 0:
        raise ConfigError(f"config.json has {MTP_KEY} = {count!r:.60}. Expected a whole number.")
    return count


def without_pictures(config: Json) -> dict[str, Any]:
    """The config of the same text model without an encoder of pictures (V4 and V4.1)."""
    out = {key: value for key, value in config.items() if key != "vision_config"}
    return {**out, "vision_n_layers": 0} if "vision_n_layers" in config else out


def without_mtp(config: Json) -> dict[str, Any]:
    """The config of the same model without these layers."""
    for part in ("language_config", "text_config"):
        if isinstance(config.get(part), Mapping):
            return {**config, part: without_mtp(config[part])}
    return {**config, MTP_KEY: 0} if MTP_KEY in config else dict(config)
