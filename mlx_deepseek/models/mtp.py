"""Multi-token prediction: an extra layer that guesses one token further (2412.19437 §2.2)."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.hyper_connections import connections
from mlx_deepseek.layers.step import Step
from mlx_deepseek.models.decoder import AttentionFactory, DecoderConfig, DecoderLayer, LayerConfig
from mlx_deepseek.models.dspark import stages


class SharedHead(nn.Module):
    """Final norm and output head of an MTP layer; releases store them as copies of its own."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.norm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.head = nn.Linear(config.hidden, config.vocab, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """Logits [..., vocab] of x [..., D]."""
        return self.head(self.norm(x))


class MTPLayer(DecoderLayer):
    """A decoder layer fed with the model's hidden state and the next token; HF's flat names."""

    def __init__(self, config: DecoderConfig, layer: LayerConfig, attention: AttentionFactory):
        super().__init__(config, layer, attention)
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.enorm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.hnorm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.eh_proj = nn.Linear(2 * config.hidden, config.hidden, bias=False)
        self.shared_head = SharedHead(config)

    def predict(self, hidden: mx.array, next_ids: mx.array, cache: Any = None) -> mx.array:
        """Hidden states [B, L, D] that, through `shared_head`, predict the token after `next_ids`.

        `hidden` [B, L, D] is the state *after* the model's final norm, or the previous MTP layer's;
        `next_ids` [B, L] holds the token that follows each position.
        """
        embedded = self.enorm(self.embed_tokens(next_ids))
        joined = mx.concatenate([embedded, self.hnorm(hidden)], axis=-1)  # [B, L, 2 D]
        return self(self.eh_proj(joined), Step(next_ids), cache)


class HyperMTPLayer(DecoderLayer):
    """V4's: fed with every copy after the last layer; `embed` and `output` are the model's."""

    def __init__(self, config: DecoderConfig, layer: LayerConfig, attention: AttentionFactory):
        super().__init__(config, layer, attention)
        self.enorm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.hnorm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.e_proj = nn.Linear(config.hidden, config.hidden, bias=False)
        self.h_proj = nn.Linear(config.hidden, config.hidden, bias=False)
        self.hc_head = connections(config.hyper)[1]()
        self.norm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.embed: Callable[[mx.array], mx.array] | None = None
        self.output: Callable[[mx.array], mx.array] | None = None

    def predict(self, copies: mx.array, next_ids: mx.array, cache: Any = None) -> mx.array:
        """Copies [B, L, M, D] that, through `shared_head`, predict the token after `next_ids`.

        `copies` are the model's after its last layer, or this layer's for the token before.
        """
        assert self.embed is not None, "the layer shares its model's embedding"
        embedded = self.e_proj(self.enorm(self.embed(next_ids)))  # [B, L, D]
        fed = self.h_proj(self.hnorm(copies)) + embedded[:, :, None]
        return self(fed, Step(next_ids), cache)

    def shared_head(self, copies: mx.array) -> mx.array:
        """Logits [B, L, vocab] of copies [B, L, M, D]."""
        assert self.output is not None, "the layer shares its model's output head"
        return self.output(self.norm(self.hc_head(copies)))


def mtp_layers(config: DecoderConfig, attention: AttentionFactory) -> list[Any]:
    """The extra layers of a model: one kind predicts one token further, another drafts a block."""
    if config.drafting is not None:
        return stages(config)
    kind = MTPLayer if config.hyper is None else HyperMTPLayer
    return [kind(config, layer, attention) for layer in config.mtp]
