"""The one decoder behind every DeepSeek architecture; the files beside it choose its parts."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.base import create_attention_mask

from mlx_deepseek.config import DecoderConfig
from mlx_deepseek.layers.mlp import MLP
from mlx_deepseek.layers.moe import MoE

FEW = 8

AttentionFactory = Callable[[Any], Any]  # from the config's attention part


class DecoderLayer(nn.Module):
    """Attention, then a dense MLP or experts, each behind a norm and a residual."""

    def __init__(self, config: DecoderConfig, attention: AttentionFactory, index: int):
        super().__init__()
        self.input_layernorm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.self_attn = attention(config.attention)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden, eps=config.eps)
        if config.moe is not None and config.moe.at(index):
            self.mlp = MoE(config.moe)
        else:
            self.mlp = MLP(config.hidden, config.dense_width)

    def __call__(self, x: mx.array, mask: mx.array | str | None = None, cache=None) -> mx.array:
        """Transform x [B, L, D]."""
        x = x + self.self_attn(self.input_layernorm(x), mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))

    def make_cache(self) -> Any:
        """An empty cache, as the layer's attention wants it."""
        return self.self_attn.make_cache()


class Decoder(nn.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: DecoderConfig, attention: AttentionFactory):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.layers = [DecoderLayer(config, attention, i) for i in range(config.layers)]
        self.norm = nn.RMSNorm(config.hidden, eps=config.eps)

    def __call__(self, ids: mx.array, cache=None, embeddings: mx.array | None = None) -> mx.array:
        """Hidden states [B, L, D] of ids [B, L], or of `embeddings` [B, L, D] in their place."""
        x = self.embed_tokens(ids) if embeddings is None else embeddings
        cache = cache or [None] * len(self.layers)
        # Few tokens (drafts, say) attend to latents, where one mask serves all layers.
        mask = create_attention_mask(x, cache[0], return_array=x.shape[1] <= FEW)
        for layer, layer_cache in zip(self.layers, cache, strict=True):
            x = layer(x, mask, layer_cache)
        return self.norm(x)
