"""Which compressed entries a query attends to (DeepSeek-V4 §2.3.1, DeepSeek-V4.1 §2).

As the lightning indexer of V3.2, over keys of closed groups instead of tokens.
"""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.chunking import map_chunks
from mlx_deepseek.layers.compressor import Compressor, CompressorConfig
from mlx_deepseek.layers.indexer import best, score
from mlx_deepseek.layers.latent_kv import AnyLatentKV
from mlx_deepseek.layers.rope import Rope, RopeConfig

Chosen = tuple[mx.array, mx.array]  # places [B, L, K], and whether each may be attended to


@dataclass(frozen=True)
class CandidateConfig:
    """Of `blocks` of `size` entries each, chosen by one layer, later layers choose theirs."""

    blocks: int
    size: int
    chosen_here: bool


@dataclass(frozen=True)
class EntryIndexerConfig:
    """`topk` entries per query, of `heads` x `dim`; keys come from a compressor, or from entries.

    `key_input` is the width of the latents that keys are projected from; None: from a compressor of
    its own (V4), or from another layer.
    """

    hidden: int
    query_rank: int
    heads: int
    dim: int
    topk: int
    eps: float
    rope: RopeConfig
    compressor: CompressorConfig | None = None
    key_input: int | None = None
    candidates: CandidateConfig | None = None


class EntryIndexer(nn.Module):
    """Scores entries by a few small heads; all of them are attended to while there are few."""

    def __init__(self, config: EntryIndexerConfig):
        super().__init__()
        self.config = config
        self.q_b_proj = nn.Linear(config.query_rank, config.heads * config.dim, bias=False)
        self.weights_proj = nn.Linear(config.hidden, config.heads, bias=False)
        if config.compressor is not None:
            self.compressor = Compressor(config.compressor)
        if config.key_input is not None:
            self.k_proj = nn.Linear(config.key_input, config.dim, bias=False)
            self.k_norm = nn.RMSNorm(config.dim, eps=config.eps)
        self.rope = Rope(config.rope)
        self.scale = (config.heads * config.dim) ** -0.5

    def index_keys(self, latent: mx.array, first: int, ratio: int) -> mx.array:
        """Keys [B, n, I] of latents [B, n, D], the first of which is group number `first`."""
        if self.config.key_input is not None:
            latent = self.k_norm(self.k_proj(latent))
        return self.rope(latent[:, None], first, scale=ratio).squeeze(1)

    def __call__(
        self,
        x: mx.array,
        query_latent: mx.array,
        keys: AnyLatentKV,
        ratio: int,
        offset: int,
        candidates: mx.array | None,
    ) -> tuple[Chosen | None, mx.array | None]:
        """What x [B, L, D] attends to of n keys; and candidate blocks, if chosen here.

        None while there are at most K entries. `candidates` [B, L, blocks] are an earlier layer's.
        """
        c, n = self.config, keys.length
        queries = mx.unflatten(self.q_b_proj(query_latent), -1, (c.heads, -1)).swapaxes(1, 2)
        queries = self.rope(queries, offset).swapaxes(1, 2)  # [B, L, H, I]
        # Float32, as the reference: the weights decide between nearly equal scores.
        weights = self.weights_proj(x).astype(mx.float32) * self.scale  # [B, L, H]
        blocks = c.candidates
        given = [] if candidates is None else [candidates]

        def choose(part: slice, queries: mx.array, weights: mx.array, *given: mx.array):
            scores = score(keys, queries, weights)  # [B, l, n]
            shown = closed_before(part, offset, ratio, n)
            kept = None
            if blocks is not None and blocks.chosen_here:
                kept = best_blocks(scores, shown, blocks)
            elif blocks is not None and given:
                shown = shown & mx.repeat(given[0], blocks.size, axis=-1)[..., :n]
            chosen = best(scores, mx.broadcast_to(shown, scores.shape), c.topk)
            return (*chosen, kept) if kept is not None else chosen

        if n <= c.topk:
            return None, None
        places, allowed, *kept = map_chunks(
            choose, [queries, weights, *given], each=x.shape[0] * c.heads * n
        )
        return (places, allowed), kept[0] if kept else None


def closed_before(part: slice, offset: int, ratio: int, entries: int) -> mx.array:
    """Which entries [l, n] are of groups closed at the queries `part`, after `offset` tokens."""
    closed = (mx.arange(offset + part.start, offset + part.stop) + 1) // ratio
    return mx.arange(entries) < closed[:, None]


def best_blocks(scores: mx.array, shown: mx.array, config: CandidateConfig) -> mx.array:
    """The blocks [B, L, n / size] of the highest scores [B, L, n]; the newest one is always in.

    It is only partly full, so an older one could score higher.
    """
    entries = scores.shape[-1]
    missing = -entries % config.size
    scores = mx.where(shown, scores, -mx.inf)
    scores = mx.pad(scores, [(0, 0), (0, 0), (0, missing)], constant_values=-mx.inf)
    highest = mx.unflatten(scores, -1, (-1, config.size)).max(-1)  # [B, L, blocks]
    newest = (shown.sum(-1, keepdims=True) - 1) // config.size  # [L, 1]
    blocks = highest.shape[-1]
    highest = mx.where(mx.arange(blocks) == newest, mx.inf, highest)
    places, allowed = best(highest, None, min(config.blocks, blocks))
    kept = mx.zeros(highest.shape, mx.bool_)
    return mx.put_along_axis(kept, places, allowed, axis=-1)
