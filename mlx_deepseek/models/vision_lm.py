"""A language model that reads pictures: features take the places of tokens in the prompt."""

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import KVCache

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.mha import MultiHeadAttention
from mlx_deepseek.layers.mla import LAYOUTS
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.config import read_decoder
from mlx_deepseek.vision.tiling.plan import ImageReader, Pixels

# Pixels that are encoded at a time: eight tiles of 384, one of 1024.
PIXELS_AT_A_TIME = 8 * 384 * 384

# What the releases' config class assumes where their language_config is silent.
LANGUAGE_DEFAULTS: Json = {
    "model_type": "deepseek_v2",
    "num_hidden_layers": 30,
    "num_attention_heads": 32,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
}


class ImageModel:
    """What prompts with pictures need of a model: `reader` cuts pictures, `see` encodes them.

    A prompt's embeddings are made by the caller, who knows which slots belong to which picture.
    """

    # Trained on pages alone: without one it babbles, and only a guard keeps it out of circles.
    pages_only = False
    reader: ImageReader

    def embed(self, ids: mx.array) -> mx.array:
        """Embeddings [B, L, D] of ids [B, L]."""
        raise NotImplementedError

    def see(self, pixels: Pixels, plan: Any) -> mx.array:
        """A picture's features [plan.slots, D], in the prompt's order."""
        raise NotImplementedError


class VisionLM(nn.Module, ImageModel):
    """A text model behind mlx-lm's protocol, and `see`; architectures add encoders."""

    def __init__(self, language: Any, reader: ImageReader):
        super().__init__()
        self.language = language
        self.reader = reader

    def __call__(
        self, ids: mx.array, cache=None, input_embeddings: mx.array | None = None
    ) -> mx.array:
        """Logits [B, L, vocab] of ids [B, L], or of `input_embeddings` [B, L, D] in their place."""
        return self.language(ids, cache=cache, input_embeddings=input_embeddings)

    @property
    def layers(self) -> list[Any]:
        """The language model's layers."""
        return self.language.layers

    def make_cache(self) -> list[Any]:
        """An empty cache per layer."""
        if hasattr(self.language, "make_cache"):
            return self.language.make_cache()
        return [KVCache() for _ in self.layers]

    def embed(self, ids: mx.array) -> mx.array:
        """Embeddings [B, L, D] of ids [B, L]."""
        return self.language.model.embed_tokens(ids)

    def encode(self, pixels: mx.array) -> mx.array:
        """Projected features [T, side * side, D] of pixels [T, px, px, 3] of one size."""
        raise NotImplementedError

    def encoded(self, pixels: mx.array) -> mx.array:
        """`encode`, as many at a time as bounded memory allows."""
        step = max(1, PIXELS_AT_A_TIME // (pixels.shape[1] * pixels.shape[2]))
        parts = []
        for start in range(0, pixels.shape[0], step):
            parts.append(self.encode(pixels[start : start + step]))
            mx.eval(parts[-1])
        return mx.concatenate(parts)


def deepseek_language(config: Json, layout: str | None) -> CausalLM:
    """The text model of a VL2 or OCR config: MLA, or plain attention where it says so."""
    language = dict(LANGUAGE_DEFAULTS)
    language |= {key: value for key, value in part(config, "language_config").items()}
    if language.pop("rm_head", False) or not language.pop("lm_head", True):
        raise ConfigError("config.json describes a language model without a head.")
    if language.pop("use_mla", True):
        return CausalLM(read_decoder(language, "mla"), LAYOUTS[layout or "kv_b_proj"])
    for key in ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim"):
        language.pop(key, None)
    language.pop("v_head_dim", None)
    return CausalLM(read_decoder(language, "mha"), MultiHeadAttention)


def part(config: Json, key: str) -> Json:
    """A config inside a config; ConfigError when it is missing."""
    value = config.get(key)
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"config.json of model type {config.get('model_type')!r} lacks {key!r}. Take "
            "config.json from the original repository."
        )
    return value
