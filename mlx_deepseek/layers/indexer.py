"""The lightning indexer of DeepSeek Sparse Attention (DeepSeek-V3.2 report, §2.1).

A few small heads score every cached token for every query; attention reads the K best only.
"""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.chunking import map_chunks
from mlx_deepseek.layers.latent_kv import AnyLatentKV, LatentKV, QuantizedLatentKV
from mlx_deepseek.layers.masks import Mask, visible
from mlx_deepseek.layers.rope import Rope, RopeConfig


@dataclass(frozen=True)
class IndexerConfig:
    """The lightning indexer of sparse attention: `topk` tokens per query, of `heads` x `dim`."""

    hidden: int
    query_rank: int
    heads: int
    dim: int
    topk: int
    rope: RopeConfig


class Indexer(nn.Module):
    """Chooses which K of S tokens each query attends to; all of them while S <= K."""

    def __init__(self, config: IndexerConfig):
        super().__init__()
        self.config = config
        self.wq_b = nn.Linear(config.query_rank, config.heads * config.dim, bias=False)
        self.wk = nn.Linear(config.hidden, config.dim, bias=False)
        self.k_norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.weights_proj = nn.Linear(config.hidden, config.heads, bias=False)
        self.rope = Rope(config.rope)  # rotates the first channels; MLA's rotated ones are last
        self.scale = (config.heads * config.dim) ** -0.5

    def compress(self, x: mx.array, offset: int | mx.array) -> mx.array:
        """What the cache keeps of x [B, L, D]: [B, 1, L, I]."""
        return self.rope(self.k_norm(self.wk(x))[:, None], offset)

    def __call__(
        self,
        x: mx.array,
        query_latent: mx.array,
        keys: mx.array | QuantizedLatentKV,
        mask: Mask,
        offset: int | mx.array,
    ) -> tuple[mx.array, mx.array] | None:
        """Places [B, L, K] of the tokens that x [B, L, D] attends to, and whether they may be.

        None while the cache holds at most K tokens. A place may not be attended to where a query
        has fewer than K tokens before it.
        """
        rows = keys if isinstance(keys, QuantizedLatentKV) else LatentKV(keys)
        S, (B, L, _) = rows.length, x.shape
        if self.config.topk >= S:
            return None
        heads, topk = self.config.heads, self.config.topk
        queries = mx.unflatten(self.wq_b(query_latent), -1, (heads, -1)).swapaxes(1, 2)
        queries = self.rope(queries, offset).swapaxes(1, 2)  # [B, L, H, I]
        # Float32, as the reference: the weights decide between nearly equal scores.
        weights = self.weights_proj(x.astype(mx.float32)) * self.scale  # [B, L, H]

        def choose(part: slice, queries: mx.array, weights: mx.array):
            shown = visible(mask, part, slice(0, S), L, S)
            scores = score(rows, queries, weights)
            return best(scores, None if shown is None else shown.squeeze(1), topk)

        return map_chunks(choose, [queries, weights], each=B * heads * S)


def score(rows: AnyLatentKV, queries: mx.array, weights: mx.array) -> mx.array:
    """sum_h w_h relu(q_h . k), float32 [B, L, S], of queries [B, L, H, I], weights [B, L, H]."""
    per_head = rows.scores([queries.flatten(1, 2)[:, None]], 1.0)  # [B, 1, L H, S]
    per_head = mx.maximum(mx.unflatten(per_head.squeeze(1), 1, queries.shape[1:3]), 0)
    return (weights[:, :, None] @ per_head.astype(mx.float32)).squeeze(2)


def best(scores: mx.array, allowed: mx.array | None, count: int) -> tuple[mx.array, mx.array]:
    """Places [B, L, count] of the highest scores [B, L, S], and whether each is `allowed`.

    Of equal ones, which heads that all see nothing give, any: the references do not say which.
    """
    if allowed is not None:
        scores = mx.where(allowed, scores, -mx.inf)
    places = mx.argpartition(-scores, kth=count - 1, axis=-1)[..., :count]
    places = mx.stop_gradient(places)  # adapters and DWQ train through what reads them
    return places, mx.take_along_axis(scores, places, axis=-1) > -mx.inf


def sparse_mask(chosen: tuple[mx.array, mx.array], cached: int) -> mx.array:
    """The tokens that an indexer chose as a mask [B, 1, L, S] for S `cached` tokens."""
    places, allowed = chosen
    mask = mx.zeros((*places.shape[:2], cached), dtype=mx.bool_)
    return mx.put_along_axis(mask, places, allowed, axis=-1)[:, None]
