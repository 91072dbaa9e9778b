"""Attention to a window of tokens and to compressed entries (DeepSeek-V4 §2.3, arXiv:2606.19348).

All heads share one row per token, key and value at once, so rotation by position reaches the output
and is undone there. A learned sink per head takes part in the softmax and adds nothing. Entries
are pooled from groups of tokens; with an indexer a query reads the best of them, else all.
"""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.mla import MultiLinear

from mlx_deepseek.layers.attention import Part, attend_parts
from mlx_deepseek.layers.chunking import map_chunks
from mlx_deepseek.layers.compressed_batch import CompressedBatch
from mlx_deepseek.layers.compressed_cache import MARKS, REWIND, SLACK, CompressedCache
from mlx_deepseek.layers.compressor import Compressor, CompressorConfig
from mlx_deepseek.layers.entry_indexer import (
    Chosen,
    EntryIndexer,
    EntryIndexerConfig,
    closed_before,
)
from mlx_deepseek.layers.indexer import sparse_mask
from mlx_deepseek.layers.latent_kv import AnyLatentKV
from mlx_deepseek.layers.rope import Rope, RopeConfig
from mlx_deepseek.layers.step import Step
from mlx_deepseek.layers.tail import ROOM
from mlx_deepseek.layers.visible_range import near_rows, visible_range

# Entries, as a multiple of those chosen, from which reading the chosen ones alone is cheaper than
# reading all and hiding the others.
GATHER_FROM = 4
FEW = 8  # queries that always read their chosen entries alone


@dataclass(frozen=True)
class CompressedAttentionConfig:
    """`ratio` 0: the window alone. Without a compressor, entries are an earlier layer's.

    `query_norm`: every query head is normalised once more. The output goes through `output_rank`
    numbers in each of `output_groups` groups of heads. Tokens of a picture see each other both
    ways, `spans` of them at most (0: as text).
    """

    hidden: int
    heads: int
    dim: int
    query_rank: int
    output_groups: int
    output_rank: int
    window: int
    eps: float
    rope: RopeConfig
    query_norm: bool = True
    ratio: int = 0
    spans: int = 0
    compressor: CompressorConfig | None = None
    indexer: EntryIndexerConfig | None = None


class CompressedAttention(nn.Module):
    """V4's and V4.1's attention of one layer; names as in transformers."""

    def __init__(self, config: CompressedAttentionConfig):
        super().__init__()
        self.config = c = config
        self.q_a_proj = nn.Linear(c.hidden, c.query_rank, bias=False)
        self.q_a_norm = nn.RMSNorm(c.query_rank, eps=c.eps)
        self.q_b_proj = nn.Linear(c.query_rank, c.heads * c.dim, bias=False)
        self.kv_proj = nn.Linear(c.hidden, c.dim, bias=False)
        self.kv_norm = nn.RMSNorm(c.dim, eps=c.eps)
        width = c.heads * c.dim // c.output_groups
        self.o_a_proj = MultiLinear(width, c.output_rank, c.output_groups)
        self.o_b_proj = nn.Linear(c.output_groups * c.output_rank, c.hidden, bias=False)
        self.sinks = mx.zeros((c.heads,))
        if c.compressor is not None:
            self.compressor = Compressor(c.compressor)
        if c.indexer is not None:
            self.indexer = EntryIndexer(c.indexer)
        self.rope = Rope(c.rope)
        self.scale = c.dim**-0.5

    def make_cache(self) -> CompressedCache:
        """An empty cache."""
        own = self.config.compressor
        if own is None:
            return CompressedCache(self.config.window)
        return CompressedCache(
            self.config.window, own.ratio, overlap=own.overlap, widths=(own.dim, self.key_width)
        )

    @property
    def cache_width(self) -> float:
        """Numbers cached per token, of entries alone: what the window holds does not grow."""
        own = self.config.compressor
        return 0 if own is None else (own.dim + self.key_width) / own.ratio

    @property
    def key_width(self) -> int:
        """Numbers of an index key that is kept with each entry; 0 where none is."""
        indexer = self.config.indexer
        keys = indexer is not None and (indexer.compressor or indexer.key_input)
        return indexer.dim if indexer is not None and keys else 0

    @property
    def fixed_cache_width(self) -> int:
        """Numbers cached however long the context is: the window, rows of open groups, marks."""
        own, indexer = self.config.compressor, self.config.indexer
        raw = self.compressor.raw_width if own is not None else 0
        if indexer is not None and indexer.compressor is not None:
            raw += self.indexer.compressor.raw_width
        held = own.ratio * (1 + own.overlap) + REWIND if own is not None else 0
        window = self.config.window - 1
        marked = (window + SLACK) * self.config.dim + (held - REWIND + SLACK if held else 0) * raw
        return (window + REWIND + ROOM) * self.config.dim + (held + ROOM) * raw + MARKS * marked

    def __call__(self, x: mx.array, step: Step, cache: Any = None) -> mx.array:
        """Attend from x [B, L, D] to the cache and itself."""
        cache = self.make_cache() if cache is None else cache
        offset = cache.offset
        latent = self.q_a_norm(self.q_a_proj(x))  # [B, L, Q]
        made = x, latent, self.queries(latent, offset), self.rows(x, offset), self.raw(x, offset)
        if not isinstance(cache, CompressedBatch):
            return self.project(self.read(*made, step, cache), offset)
        out = []
        for number, row in enumerate(cache.rows):
            own = [None if array is None else array[number : number + 1] for array in made]
            out.append(self.read(*own, step.row(number), row))  # type: ignore[arg-type]
        return self.project(mx.concatenate(out), offset)

    def read(
        self,
        x: mx.array,
        latent: mx.array,
        queries: mx.array,
        rows: mx.array,
        raw: mx.array | None,
        step: Step,
        cache: CompressedCache,
    ) -> mx.array:
        """Attended rows [B, L, H, D] of what was made of x [B, L, D], after it is in the cache."""
        cache.window.append(rows)
        if raw is not None:
            self.compress(raw, cache, step)
        if self.config.indexer is not None:
            self.choose(x, latent, cache.offset, step)
        cache.advance(x.shape[1])
        return self.attend(queries, cache, step)

    def queries(self, latent: mx.array, offset: int | mx.array) -> mx.array:
        """Rotated queries [B, L, H, D] of latents [B, L, Q]."""
        q = mx.unflatten(self.q_b_proj(latent), -1, (self.config.heads, -1))  # [B, L, H, D]
        if self.config.query_norm:
            q = mx.fast.rms_norm(q, None, self.config.eps)
        return self.rope(q.swapaxes(1, 2), offset).swapaxes(1, 2)

    def rows(self, x: mx.array, offset: int | mx.array) -> mx.array:
        """What the window keeps of x [B, L, D]: key and value at once [B, L, D], rotated."""
        return self.rope(self.kv_norm(self.kv_proj(x))[:, None], offset).squeeze(1)

    @property
    def pools(self) -> list[Compressor]:
        """What makes entries, and, of an indexer that has its own, what makes keys."""
        if self.config.compressor is None:
            return []
        indexer = self.config.indexer
        own = indexer is not None and indexer.compressor is not None
        return [self.compressor, *([self.indexer.compressor] if own else [])]

    def raw(self, x: mx.array, offset: int | mx.array) -> mx.array | None:
        """Raw rows [B, L, W] of x [B, L, D], the indexer's after the entries'; None without any."""
        raws = [pool.raw(x, offset) for pool in self.pools]
        return mx.concatenate(raws, axis=-1) if raws else None

    def compress(self, raw: mx.array, cache: CompressedCache, step: Step) -> None:
        """Make entries of the groups that raw rows close; this layer and later ones read them."""
        ratio, pools, end = cache.ratio, self.pools, cache.offset + raw.shape[1]
        cache.raw.append(raw)
        if end // ratio > cache.closed:
            rows, missing = cache.open_rows()
            edges = [pools[0].raw_width] if len(pools) > 1 else []
            parts = mx.split(rows, edges, axis=-1)
            latents = [p.pool(part, missing) for p, part in zip(pools, parts, strict=True)]
            entries = self.rope(latents[0][:, None], cache.closed, scale=ratio).squeeze(1)
            keys = None
            if self.config.indexer is not None:
                keys = self.indexer.index_keys(latents[-1], cache.closed, ratio)
            cache.add_entries(entries, keys)
        found = cache.read_entries(end // ratio)
        step.shared["entries"], step.shared["index_keys"] = found
        step.shared["chosen"] = None

    def choose(self, x: mx.array, latent: mx.array, offset: int, step: Step) -> None:
        """Choose what this layer, and later ones without an indexer, read of the entries."""
        keys = step.shared.get("index_keys")
        chosen = None
        if keys is not None:
            candidates = step.shared.get("candidates")
            chosen, blocks = self.indexer(x, latent, keys, self.config.ratio, offset, candidates)
            if blocks is not None:
                step.shared["candidates"] = blocks
        step.shared["chosen"] = chosen

    def attend(self, queries: mx.array, cache: CompressedCache, step: Step) -> mx.array:
        """Attended rows [B, L, H, D] of queries [B, L, H, D], the last tokens of the cache."""
        c, (B, L, _, _) = self.config, queries.shape
        offset = cache.offset - L
        start = max(offset - cache.reach_back, 0)
        window = cache.window.since(start)  # [B, W, D]
        entries, chosen, kept = self.readable(L, step)
        seen = visible_range(step, offset, cache.reach_back, c.spans) if c.spans else None

        def some(part: slice, queries: mx.array, *own: mx.array) -> mx.array:
            low, high, near = near_rows(part, offset, start, cache.reach_back, seen)
            parts: list[Part] = [(window[:, low - start : high - start], near)]
            if entries is not None and chosen is not None:
                places, allowed = own
                parts.append((entries.gather(places, queries.dtype), allowed))
            elif entries is not None:
                shown = own[0] if own else closed_before(part, offset, c.ratio, entries.length)
                rows = entries.dense(queries.dtype).squeeze(1)
                parts.append((rows, shown if L > 1 else None))
            return attend_parts(queries, parts, self.sinks, self.scale)

        own = list(chosen or ()) if kept is None else [kept]
        read = chosen[0].shape[-1] if chosen else 0 if entries is None else entries.length
        each = B * c.heads * (cache.reach_back + read) + (B * read * c.dim if chosen else 0)
        return map_chunks(some, [queries, *own], each)

    def readable(
        self, new: int, step: Step
    ) -> tuple[AnyLatentKV | None, Chosen | None, mx.array | None]:
        """Entries, n of them, for `new` queries, and what these read of them, if not all.

        Either places to read alone, or, where hiding the others costs less, a mask [B, L, n].
        """
        entries = step.shared.get("entries") if self.config.ratio else None
        chosen: Chosen | None = step.shared.get("chosen")
        if entries is None or chosen is None:
            return entries, None, None
        count = entries.length
        if new > FEW and count < GATHER_FROM * chosen[0].shape[-1]:
            return entries, None, sparse_mask(chosen, count).squeeze(1)
        return entries, chosen, None

    def project(self, out: mx.array, offset: int | mx.array) -> mx.array:
        """Attended rows [B, L, H, D], their rotation undone, as [B, L, D]."""
        out = self.rope(out.swapaxes(1, 2), offset, inverse=True)  # [B, H, L, D]
        out = mx.unflatten(out, 1, (self.config.output_groups, -1))  # [B, G, H / G, L, D]
        out = out.transpose(0, 1, 3, 2, 4).flatten(-2)  # [B, G, L, (H / G) D]
        return self.o_b_proj(self.o_a_proj(out).swapaxes(1, 2).flatten(-2))
