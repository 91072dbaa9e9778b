"""DSpark: drafts a block of tokens at once, from what the model made of those before it.

Stages are decoder layers that attend to a window of the model's own states, projected, and to the
block itself, both ways; then each token of the block depends on the one before it through a table
(dated releases of DeepSeek-V4, and V4.1).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.attention import Part, attend_parts
from mlx_deepseek.layers.compressed_attention import CompressedAttention
from mlx_deepseek.layers.compressed_cache import CompressedCache
from mlx_deepseek.layers.hyper_connections import connections
from mlx_deepseek.layers.masks import Mask
from mlx_deepseek.layers.step import Step
from mlx_deepseek.models.decoder import DecoderConfig, DecoderLayer, DraftingConfig, LayerConfig

Choose = Callable[[mx.array, list[mx.array]], mx.array]  # tokens [B] of logits [B, vocab]


class DraftAttention(CompressedAttention):
    """Attention of a block to itself and to the model's last states, which a cache remembers."""

    def make_cache(self) -> CompressedCache:
        """An empty cache of the model's states."""
        return CompressedCache(self.config.window + 1)

    def remember(self, states: mx.array, cache: CompressedCache) -> None:
        """Take the model's projected states [B, L, D] into the cache."""
        cache.window.append(self.rows(states, cache.offset))
        cache.advance(states.shape[1])

    def __call__(self, x: mx.array, step: Step | Mask = None, cache: Any = None) -> mx.array:
        """Attend from x [B, L, D], the block, to the cache and the block."""
        offset = cache.offset
        queries = self.queries(self.q_a_norm(self.q_a_proj(x)), offset)
        parts: list[Part] = [(self.rows(x, offset), None)]
        if offset:
            parts.append((cache.window.since(max(offset - self.config.window, 0)), None))
        return self.project(attend_parts(queries, parts, self.sinks, self.scale), offset)


class MarkovHead(nn.Module):
    """What a token makes likely after it: a table of `rank` numbers per token, twice."""

    def __init__(self, vocab: int, rank: int):
        super().__init__()
        self.embed = nn.Embedding(vocab, rank)
        self.head = nn.Linear(rank, vocab, bias=False)


class ConfidenceHead(nn.Module):
    """A raw score of how sure a draft is."""

    def __init__(self, hidden: int, rank: int):
        super().__init__()
        self.proj = nn.Linear(hidden + rank, 1, bias=False)


class DSparkStage(DecoderLayer):
    """One stage; the first projects the model's states, the last one drafts."""

    def __init__(self, config: DecoderConfig, layer: LayerConfig, place: int):
        super().__init__(config, layer, DraftAttention)
        drafting, hidden = config.drafting, config.hidden
        assert drafting is not None
        if place == 0:
            self.main_proj = nn.Linear(hidden * drafting.targets, hidden, bias=False)
            self.main_norm = nn.RMSNorm(hidden, eps=config.eps)
        if place == len(config.mtp) - 1:
            self.hc_head = connections(config.hyper)[1]()
            self.norm = nn.RMSNorm(hidden, eps=config.eps)
            self.markov_head = MarkovHead(config.vocab, drafting.markov_rank)
            self.confidence_head = ConfidenceHead(hidden, drafting.markov_rank)


class DraftBlock(NamedTuple):
    """Drafts [B] each, their logits [B, n, vocab] and scores [B, n] of how sure they are."""

    drafts: list[mx.array]
    logits: mx.array
    confidence: mx.array


class DSpark:
    """Drafts with a model's stages; it has no parameters of its own."""

    def __init__(self, model: Any):
        self.model = model
        self.stages: Sequence[DSparkStage] = model.mtp
        drafting = model.args.drafting
        assert drafting is not None
        self.config: DraftingConfig = drafting

    def make_cache(self) -> list[CompressedCache]:
        """Empty caches, one a stage."""
        return [stage.make_cache() for stage in self.stages]

    def remember(self, features: mx.array, caches: Sequence[CompressedCache]) -> None:
        """Take what the model left of its tokens, [B, L, D per target layer], into the caches."""
        first = self.stages[0]
        states = first.main_norm(first.main_proj(features))
        for stage, cache in zip(self.stages, caches, strict=True):
            stage.self_attn.remember(states, cache)

    def block(self, token: mx.array, caches: Sequence[CompressedCache]) -> mx.array:
        """Hidden states [B, block, D] for the drafts after `token` [B], the next one to be read."""
        B, last = token.shape[0], self.stages[-1]
        noise = mx.full((B, self.config.block - 1), self.config.noise_token, token.dtype)
        ids = mx.concatenate([token[:, None], noise], axis=1)
        state = last.hc_head.begin(self.model.model.embed_tokens(ids))
        for stage, cache in zip(self.stages, caches, strict=True):
            state = stage(state, Step(ids), cache)
        return last.hc_head(state)

    def draft(
        self, token: mx.array, caches: Sequence[CompressedCache], choose: Choose, count: int
    ) -> DraftBlock:
        """Up to `count` drafts, at most a block: each chosen from logits, given those before it."""
        hidden, last = self.block(token, caches), self.stages[-1]
        base = self.model.head(last.norm(hidden))
        drafts: list[mx.array] = []
        logits, scores = [], []
        for place in range(min(count, self.config.block)):
            table = last.markov_head.embed(drafts[-1] if drafts else token)  # [B, rank]
            logits.append(base[:, place] + last.markov_head.head(table))
            both = mx.concatenate([hidden[:, place], table], axis=-1).astype(mx.float32)
            scores.append(last.confidence_head.proj(both).squeeze(-1))
            drafts.append(choose(logits[-1], drafts))
        return DraftBlock(drafts, mx.stack(logits, 1), mx.stack(scores, 1))


def stages(config: DecoderConfig) -> list[DSparkStage]:
    """The stages of a decoder that drafts."""
    return [DSparkStage(config, layer, place) for place, layer in enumerate(config.mtp)]
