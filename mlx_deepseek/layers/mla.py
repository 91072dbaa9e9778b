"""Multi-head Latent Attention (arXiv:2405.04434 §2.1): keys and values as one latent per token.

The cache holds one row per token, R + P numbers: the normalised latent c [S, R] and the rotated key
k_rope [S, P] that all heads share. A head h has queries q_nope [L, N] and q_rope [L, P], and two
matrices, U_h [N, R] for keys and V_h [R, V] for values. Three ways give the same numbers; the one
with the fewest multiplications is taken.

Prefill (expanded) rebuilds keys and values, which pays for many queries:
    k_nope = c @ U_h.T                                           # [S, N]
    values = c @ V_h                                             # [S, V]
    scores = q_nope @ k_nope.T + q_rope @ k_rope.T               # [L, S]
    out    = softmax(scale * scores) @ values                    # [L, V]

Decode (absorbed) moves both matrices to the few queries, so that one head of R + P serves all:
    q      = q_nope @ U_h                                        # [L, R]
    scores = q @ c.T + q_rope @ k_rope.T                         # [L, S]
    mixed  = softmax(scale * scores) @ c                         # [L, R]
    out    = mixed @ V_h                                         # [L, V]

Sparse (gathered) is decode with the K rows that an indexer chose for each query:
    c_K, k_K = c[chosen], k_rope[chosen]                         # [L, K, R], [L, K, P]
    scores = einsum("lr,lkr->lk", q, c_K) + einsum("lp,lkp->lk", q_rope, k_K)   # [L, K]
    mixed  = einsum("lk,lkr->lr", softmax(scale * scores), c_K)  # [L, R]
    out    = mixed @ V_h                                         # [L, V]
"""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.mla import MultiLinear

from mlx_deepseek.layers.attention import attend_blocks, attend_gathered, attend_rows, block_size
from mlx_deepseek.layers.chunking import depends, map_chunks
from mlx_deepseek.layers.indexer import Indexer, IndexerConfig, sparse_mask
from mlx_deepseek.layers.latent_cache import KVCache
from mlx_deepseek.layers.latent_kv import AnyLatentKV, LatentKV
from mlx_deepseek.layers.masks import Mask
from mlx_deepseek.layers.product import product
from mlx_deepseek.layers.rope import Rope, RopeConfig, softmax_scale
from mlx_deepseek.layers.step import Step, mask_of


@dataclass(frozen=True)
class MLAConfig:
    """Multi-head Latent Attention (arXiv:2405.04434 §2.1); `query_rank` None: no compression.

    With an `indexer` it is sparse.
    """

    hidden: int
    heads: int
    query_rank: int | None
    kv_rank: int
    nope_dim: int
    value_dim: int
    rope: RopeConfig
    bias: bool = False
    indexer: IndexerConfig | None = None


class LatentAttention(nn.Module):
    """MLA with key and value up-projections as one matrix, `kv_b_proj`, as HF checkpoints have."""

    def __init__(self, config: MLAConfig):
        super().__init__()
        self.config = config
        query_dim = config.nope_dim + config.rope.dims
        if config.query_rank is None:
            self.q_proj = nn.Linear(config.hidden, config.heads * query_dim, bias=False)
        else:
            self.q_a_proj = nn.Linear(config.hidden, config.query_rank, bias=config.bias)
            self.q_a_layernorm = nn.RMSNorm(config.query_rank, eps=1e-6)
            self.q_b_proj = nn.Linear(config.query_rank, config.heads * query_dim, bias=False)
        latent_width = config.kv_rank + config.rope.dims
        self.kv_a_proj_with_mqa = nn.Linear(config.hidden, latent_width, bias=config.bias)
        self.kv_a_layernorm = nn.RMSNorm(config.kv_rank, eps=1e-6)
        self.o_proj = nn.Linear(config.heads * config.value_dim, config.hidden, bias=config.bias)
        self.sparse = config.indexer is not None
        if config.indexer is not None:
            self.indexer = Indexer(config.indexer)
        self.rope = Rope(config.rope)
        self.scale = softmax_scale(query_dim, config.rope.scaling)
        self.add_up_projections()

    def make_cache(self) -> KVCache:
        """An empty cache of rows."""
        return KVCache(*self.row_widths)

    @property
    def row_widths(self) -> tuple[int, int, int]:
        """Numbers cached per token: of the latent, the rotated key and the indexer's key."""
        index_dim = self.indexer.config.dim if self.sparse else 0
        return self.config.kv_rank, self.config.rope.dims, index_dim

    @property
    def cache_width(self) -> int:
        """Numbers cached per token."""
        return sum(self.row_widths)

    def __call__(self, x: mx.array, mask: Step | Mask = None, cache=None) -> mx.array:
        """Attend from x [B, L, D] to the cache and itself; a mask may stand in for a step."""
        mask = mask_of(mask, x, cache)
        offset = cache.offset if cache is not None else 0
        query_latent, compressed = self.down(x)  # [B, L, Q], [B, L, R + P]
        queries = self.queries(query_latent, offset)  # [B, H, L, N], [B, H, L, P]
        keys, index_keys = self.row(compressed, offset), self.index_keys(x, offset)
        if cache is not None:
            keys, index_keys = cache.update_and_fetch(keys, index_keys)
        rows = LatentKV(keys, also=index_keys) if isinstance(keys, mx.array) else keys
        chosen = self.indexer(x, query_latent, index_keys, mask, offset) if self.sparse else None
        out = self.attend(queries, rows, mask, chosen)  # [B, H, L, V]
        return self.o_proj(out.transpose(0, 2, 1, 3).flatten(-2))

    def down(self, x: mx.array) -> tuple[mx.array, mx.array]:
        """What queries are made of, x compressed to [B, L, Q] or as it is; and a raw row."""
        if self.config.query_rank is None:
            return x, self.kv_a_proj_with_mqa(x)
        return self.q_a_layernorm(self.q_a_proj(x)), self.kv_a_proj_with_mqa(x)

    def queries(self, latent: mx.array, offset: int | mx.array) -> tuple[mx.array, mx.array]:
        """Query parts without [B, H, L, N] and with rotation [B, H, L, P]."""
        q = (self.q_proj if self.config.query_rank is None else self.q_b_proj)(latent)
        q = mx.unflatten(q, -1, (self.config.heads, -1)).transpose(0, 2, 1, 3)
        q_nope, q_rope = mx.split(q, [self.config.nope_dim], axis=-1)
        return q_nope, self.rope(q_rope, offset)

    def row(self, compressed: mx.array, offset: int | mx.array) -> mx.array:
        """What the cache keeps: latent and rotated shared key [B, 1, L, R + P]."""
        latent, key = mx.split(compressed[:, None], [self.config.kv_rank], axis=-1)
        return mx.concatenate([self.kv_a_layernorm(latent), self.rope(key, offset)], axis=-1)

    def index_keys(self, x: mx.array, offset: int | mx.array) -> mx.array:
        """What the cache keeps for the indexer [B, 1, L, I]; I is 0 where attention is dense."""
        if self.sparse:
            return self.indexer.compress(x, offset)
        return mx.zeros((x.shape[0], 1, x.shape[1], 0), x.dtype)

    def attend(
        self,
        queries: tuple[mx.array, mx.array],
        rows: AnyLatentKV,
        mask: Mask,
        chosen: tuple[mx.array, mx.array] | None,
    ) -> mx.array:
        """Attended values [B, H, L, V] by prefill, decode or sparse, as the module says."""
        new = queries[0].shape[2]
        seen = rows.length if chosen is None else chosen[0].shape[-1]
        if self.decodes(new, rows.length, seen):
            return self.decode(*queries, rows, mask, chosen)
        if chosen is not None:
            mask = sparse_mask(chosen, rows.length)
        return self.prefill(*queries, rows, mask)

    def decodes(self, new: int, cached: int, seen: int) -> bool:
        """Whether absorbing takes fewer multiplications per head than expanding.

        For L `new` queries that each see `seen` of S `cached` tokens.
        """
        c = self.config
        if not self.absorbable():
            return False
        up = c.kv_rank * (c.nope_dim + c.value_dim)
        expanded = cached * up + new * cached * (c.nope_dim + c.value_dim)
        return new * up + new * seen * 2 * c.kv_rank < expanded

    def decode(self, q_nope, q_rope, rows: AnyLatentKV, mask: Mask, chosen=None) -> mx.array:
        """Attention to all rows that `mask` shows, or to the chosen ones; [B, H, L, V]."""
        queries = self.absorb_queries(q_nope), q_rope  # [B, H, L, R], [B, H, L, P]
        if chosen is None:
            return self.unembed(attend_rows(queries, rows, self.scale, mask))
        return self.unembed(attend_gathered(queries, rows, self.scale, *chosen))

    def prefill(self, q_nope, q_rope, rows: AnyLatentKV, mask: Mask) -> mx.array:
        """Attention over per-head keys and values rebuilt from S rows; [B, H, L, V].

        Of as many heads and rows at a time as memory allows, so that long prompts take no more.
        """
        c, S = self.config, rows.length
        queries = mx.concatenate([q_nope, q_rope], axis=-1)  # [B, H, L, N + P]
        B, _, L, width = queries.shape
        block = block_size(S, width)

        def some(heads: slice, queries: mx.array) -> mx.array:
            def expand(tokens: slice, done: object) -> tuple[mx.array, mx.array]:
                (row,) = depends(done, [rows.dense(queries.dtype, tokens)])
                latent, key = mx.split(row, [c.kv_rank], axis=-1)
                k_nope, values = self.expand(latent, heads)  # [B, h, s, N], [B, h, s, V]
                shared = mx.broadcast_to(key, (*k_nope.shape[:-1], key.shape[-1]))
                return mx.concatenate([k_nope, shared], axis=-1), values  # [B, h, s, N + P]

            return attend_blocks(queries, expand, S, block, scale=self.scale, mask=mask)

        each = B * block * (width + c.nope_dim + 2 * c.value_dim + L)
        return map_chunks(some, [queries], each)

    def add_up_projections(self) -> None:
        """Create the parameters that turn a latent into keys and values."""
        c = self.config
        self.kv_b_proj = nn.Linear(c.kv_rank, c.heads * (c.nope_dim + c.value_dim), bias=False)

    def absorbable(self) -> bool:
        """Whether the up-projections can be taken apart; a LoRA-wrapped matrix cannot."""
        return "weight" in self.kv_b_proj

    def expand(self, latent: mx.array, heads: slice) -> tuple[mx.array, mx.array]:
        """Some heads' keys [B, h, S, N] and values [B, h, S, V] of latent [B, 1, S, R]."""
        c = self.config
        if heads == slice(0, c.heads) or not self.absorbable():
            kv = mx.unflatten(self.kv_b_proj(latent.squeeze(1)), -1, (c.heads, -1))
            kv = kv.transpose(0, 2, 1, 3)[:, heads]
            keys, values = mx.split(kv, [c.nope_dim], axis=-1)
            return keys, values
        nope, value = slice(0, c.nope_dim), slice(c.nope_dim, None)
        keys = self.per_head(latent, nope, transpose=True, heads=heads)
        return keys, self.per_head(latent, value, transpose=True, heads=heads)

    def absorb_queries(self, q_nope: mx.array) -> mx.array:
        """Queries [B, H, L, N] as queries to the latent [B, H, L, R]."""
        return self.per_head(q_nope, slice(0, self.config.nope_dim), transpose=False)

    def unembed(self, out: mx.array) -> mx.array:
        """Attended latents [B, H, L, R] as values [B, H, L, V]."""
        return self.per_head(out, slice(self.config.nope_dim, None), transpose=True)

    def per_head(
        self, x: mx.array, rows: slice, *, transpose: bool, heads: slice = slice(None)
    ) -> mx.array:
        """x times some `rows` of some heads' blocks of kv_b_proj, plain or quantized."""
        w = self.kv_b_proj

        def block(name: str) -> mx.array:
            return mx.unflatten(w[name], 0, (self.config.heads, -1))[heads, rows]

        return product(w, x, block, transpose=transpose)


class SplitLatentAttention(LatentAttention):
    """MLA with a matrix per head and direction, `embed_q` and `unembed_out`, as in mlx-lm."""

    def add_up_projections(self) -> None:
        c = self.config
        self.embed_q = MultiLinear(c.nope_dim, c.kv_rank, c.heads)  # [H, R, N]
        self.unembed_out = MultiLinear(c.kv_rank, c.value_dim, c.heads)  # [H, V, R]

    def absorbable(self) -> bool:
        return True

    def expand(self, latent: mx.array, heads: slice) -> tuple[mx.array, mx.array]:
        if heads == slice(0, self.config.heads):
            return self.embed_q(latent, transpose=False), self.unembed_out(latent)
        keys = product(self.embed_q, latent, lambda n: self.embed_q[n][heads], transpose=False)
        values = product(
            self.unembed_out, latent, lambda n: self.unembed_out[n][heads], transpose=True
        )
        return keys, values

    def absorb_queries(self, q_nope: mx.array) -> mx.array:
        return self.embed_q(q_nope)

    def unembed(self, out: mx.array) -> mx.array:
        return self.unembed_out(out)


# By how a checkpoint stores the up-projections: one matrix as in HF, or two as in mlx-lm.
LAYOUTS = {"kv_b_proj": LatentAttention, "split": SplitLatentAttention}
