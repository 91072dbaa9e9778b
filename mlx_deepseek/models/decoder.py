"""The one decoder behind every DeepSeek architecture; the files beside it choose its parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.compressed_attention import CompressedAttentionConfig
from mlx_deepseek.layers.engram import Engram, EngramConfig
from mlx_deepseek.layers.hyper_connections import HyperConfig, connections, copies_of, with_copies
from mlx_deepseek.layers.masks import Mask
from mlx_deepseek.layers.mha import MHAConfig
from mlx_deepseek.layers.mla import MLAConfig
from mlx_deepseek.layers.mlp import MLP
from mlx_deepseek.layers.moe import MoE, MoEConfig
from mlx_deepseek.layers.step import Step

AttentionFactory = Callable[[Any], Any]  # from a layer's attention config


@dataclass(frozen=True)
class LayerConfig:
    """One layer's parts; `moe` None: one dense MLP.

    A drafter reads the layer's "input" or "output", if it is `tapped`.
    """

    attention: MLAConfig | MHAConfig | CompressedAttentionConfig
    moe: MoEConfig | None
    engram: EngramConfig | None = None
    tapped: str | None = None


@dataclass(frozen=True)
class DraftingConfig:
    """A drafter of several layers that reads what the model makes of its tokens (DSpark).

    It drafts `block` tokens at once, in places of `noise_token`, from the states of `targets`
    layers; each depends on the one before it through `markov_rank` numbers.
    """

    block: int
    noise_token: int
    targets: int
    markov_rank: int


@dataclass(frozen=True)
class DecoderConfig:
    """A DeepSeek decoder, layer by layer; `hyper` None: plain residual connections."""

    model_type: str
    vocab: int
    hidden: int
    dense_width: int
    eps: float
    layers: tuple[LayerConfig, ...]
    mtp: tuple[LayerConfig, ...] = ()
    tied_head: bool = False
    hyper: HyperConfig | None = None
    drafting: DraftingConfig | None = None


class DecoderLayer(nn.Module):
    """Attention, then a dense MLP or experts, each behind a norm and a residual connection."""

    def __init__(self, config: DecoderConfig, layer: LayerConfig, attention: AttentionFactory):
        super().__init__()
        connection, _ = connections(config.hyper)
        self.tapped = layer.tapped
        if layer.engram is not None:
            self.engram = Engram(layer.engram)
        self.attn_hc = connection()
        self.input_layernorm = nn.RMSNorm(config.hidden, eps=config.eps)
        self.self_attn = attention(layer.attention)
        self.ffn_hc = connection()
        self.post_attention_layernorm = nn.RMSNorm(config.hidden, eps=config.eps)
        if layer.moe is not None:
            self.mlp = MoE(layer.moe)
        else:
            self.mlp = MLP(config.hidden, config.dense_width)

    def __call__(self, x: Any, mask: Step | Mask = None, cache=None) -> Any:
        """Transform x: [B, L, D], or what the residual connections make of it.

        mlx-lm's tools pass a `mask`; the decoder passes the whole step in its place.
        """
        step = mask
        if "engram" in self:
            x = with_copies(x, self.recalled(copies_of(x), step, cache))
        if self.tapped == "input":
            tap(x, step)
        x = self.attn_hc(x, lambda h: self.self_attn(self.input_layernorm(h), step, cache))
        x = self.ffn_hc(x, lambda h: self.mlp(self.post_attention_layernorm(h), step))
        if self.tapped == "output":
            tap(x, step)
        return x

    def recalled(self, copies: mx.array, step: Step | Mask, cache: Any) -> mx.array:
        """Copies [B, L, M, D] with what the last tokens call to mind."""
        assert isinstance(step, Step), "an Engram looks up tokens"
        assert step.ids is not None, "an Engram looks up tokens"
        tokens = self.engram.compress(step.ids, step.pictures)
        if cache is not None:
            tokens = cache.remember(tokens, self.engram.looks_back)
        return self.engram(copies, tokens)

    def make_cache(self) -> Any:
        """An empty cache, as the layer's attention wants it."""
        return self.self_attn.make_cache()


def tap(x: Any, step: Step | Mask) -> None:
    """Leave the mean [B, L, D] of a state's copies for a drafter; computed only if one asks."""
    if isinstance(step, Step):
        step.shared.setdefault("taps", []).append(copies_of(x).mean(2))


class Decoder(nn.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: DecoderConfig, attention: AttentionFactory):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.layers = [DecoderLayer(config, layer, attention) for layer in config.layers]
        self.hc_head = connections(config.hyper)[1]()
        self.norm = nn.RMSNorm(config.hidden, eps=config.eps)

    def __call__(self, ids: mx.array, cache=None, embeddings: mx.array | None = None) -> mx.array:
        """Hidden states [B, L, D] of ids [B, L], or of `embeddings` [B, L, D] in their place."""
        return self.finish(self.states(Step.of(ids, embeddings), cache, embeddings))

    def states(
        self, step: Step, cache: Sequence[Any] | None = None, embeddings: mx.array | None = None
    ) -> Any:
        """The state after the last layer, before the final norm."""
        x = self.hc_head.begin(self.embed_tokens(step.ids) if embeddings is None else embeddings)
        for layer, layer_cache in zip(self.layers, cache or [None] * len(self.layers), strict=True):
            x = layer(x, step, layer_cache)
        return x

    def finish(self, state: Any) -> mx.array:
        """Hidden states [B, L, D] after the final norm."""
        return self.norm(self.hc_head(state))
