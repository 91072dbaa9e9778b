"""Multi-head Latent Attention (arXiv:2405.04434 §2.1): keys and values as one latent per token.

The cache holds the normalised latent [B, 1, S, R] and the rotated key shared by all heads
[B, 1, S, P]: R + P numbers per token and layer. Two ways to attend give the same numbers:
*expanded* rebuilds every head's keys and values, *absorbed* moves the up-projections to the
queries and the output and attends to the latent itself, as one multi-query head.
"""

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.mla import MultiLinear

from mlx_deepseek.config import MLAConfig
from mlx_deepseek.layers.attention import attend
from mlx_deepseek.layers.rope import Rope, softmax_scale


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
        self.rope = Rope(config.rope)
        self.scale = softmax_scale(query_dim, config.rope.scaling)
        self.add_up_projections()

    @property
    def cache_width(self) -> int:
        """Numbers cached per token."""
        return self.config.kv_rank + self.config.rope.dims

    def __call__(self, x: mx.array, mask: mx.array | str | None = None, cache=None) -> mx.array:
        """Attend from x [B, L, D] to the cache and itself."""
        offset = cache.offset if cache is not None else 0
        q_nope, q_rope = self.queries(x, offset)
        latent, key = self.compress(x, offset)
        if cache is not None:
            latent, key = cache.update_and_fetch(latent, key)
        attend = self.absorbed if self.absorbs(x.shape[1], latent.shape[2]) else self.expanded
        out = attend(q_nope, q_rope, latent, key, mask)  # [B, H, L, V]
        return self.o_proj(out.transpose(0, 2, 1, 3).flatten(-2))

    def queries(self, x: mx.array, offset: int | mx.array) -> tuple[mx.array, mx.array]:
        """Query parts without [B, H, L, N] and with rotation [B, H, L, P]."""
        if self.config.query_rank is None:
            q = self.q_proj(x)
        else:
            q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q = mx.unflatten(q, -1, (self.config.heads, -1)).transpose(0, 2, 1, 3)
        q_nope, q_rope = mx.split(q, [self.config.nope_dim], axis=-1)
        return q_nope, self.rope(q_rope, offset)

    def compress(self, x: mx.array, offset: int | mx.array) -> tuple[mx.array, mx.array]:
        """What the cache keeps: latent [B, 1, L, R] and rotated shared key [B, 1, L, P]."""
        compressed = self.kv_a_proj_with_mqa(x)[:, None]  # [B, 1, L, R + P]
        latent, key = mx.split(compressed, [self.config.kv_rank], axis=-1)
        return self.kv_a_layernorm(latent), self.rope(key, offset)

    def absorbs(self, new: int, cached: int) -> bool:
        """Whether absorbing takes fewer multiplications per head, for L `new` of S `cached`."""
        c = self.config
        if not self.absorbable():
            return False
        up = c.kv_rank * (c.nope_dim + c.value_dim)
        expanded = cached * up + new * cached * (c.nope_dim + c.value_dim)
        return new * up + new * cached * 2 * c.kv_rank < expanded

    def expanded(self, q_nope, q_rope, latent, key, mask) -> mx.array:
        """Attention over per-head keys and values rebuilt from the latent; [B, H, L, V]."""
        k_nope, values = self.expand(latent)  # [B, H, S, N], [B, H, S, V]
        key = mx.broadcast_to(key, (*k_nope.shape[:-1], key.shape[-1]))
        return attend(
            mx.concatenate([q_nope, q_rope], axis=-1),
            mx.concatenate([k_nope, key], axis=-1),
            values,
            scale=self.scale,
            mask=mask,
        )

    def absorbed(self, q_nope, q_rope, latent, key, mask) -> mx.array:
        """Attention over the latent; all heads' queries are rows of one product; [B, H, L, V]."""
        B, H, L, _ = q_nope.shape
        S = latent.shape[2]

        def rows(q: mx.array) -> mx.array:
            return (q * self.scale).reshape(B, 1, H * L, -1)

        scores = rows(self.absorb_queries(q_nope)) @ latent.swapaxes(-1, -2)
        scores = scores + rows(q_rope) @ key.swapaxes(-1, -2)  # [B, 1, H * L, S]
        if mask is not None:
            if isinstance(mask, str):  # "causal"
                mask = mx.arange(S - L, S)[:, None] >= mx.arange(S)
            lowest = mx.array(mx.finfo(scores.dtype).min, dtype=scores.dtype)
            scores = mx.where(mask, scores.reshape(B, H, L, S), lowest).reshape(scores.shape)
        # Float32 inside the softmax, as the reference.
        out = mx.softmax(scores, axis=-1, precise=True) @ latent  # [B, 1, H * L, R]
        return self.unembed(out.reshape(B, H, L, -1))

    def add_up_projections(self) -> None:
        """Create the parameters that turn a latent into keys and values."""
        c = self.config
        self.kv_b_proj = nn.Linear(c.kv_rank, c.heads * (c.nope_dim + c.value_dim), bias=False)

    def absorbable(self) -> bool:
        """Whether the up-projections can be taken apart; a LoRA-wrapped matrix cannot."""
        return "weight" in self.kv_b_proj

    def expand(self, latent: mx.array) -> tuple[mx.array, mx.array]:
        """Every head's keys [B, H, S, N] and values [B, H, S, V] of latent [B, 1, S, R]."""
        kv = mx.unflatten(self.kv_b_proj(latent.squeeze(1)), -1, (self.config.heads, -1))
        keys, values = mx.split(kv.transpose(0, 2, 1, 3), [self.config.nope_dim], axis=-1)
        return keys, values

    def absorb_queries(self, q_nope: mx.array) -> mx.array:
        """Queries [B, H, L, N] as queries to the latent [B, H, L, R]."""
        return self._per_head(q_nope, slice(0, self.config.nope_dim), transpose=False)

    def unembed(self, out: mx.array) -> mx.array:
        """Attended latents [B, H, L, R] as values [B, H, L, V]."""
        return self._per_head(out, slice(self.config.nope_dim, None), transpose=True)

    def _per_head(self, x: mx.array, rows: slice, *, transpose: bool) -> mx.array:
        """x times some `rows` of each head's block of kv_b_proj, plain or quantized."""
        w = self.kv_b_proj

        def block(name: str) -> mx.array:
            return mx.unflatten(w[name], 0, (self.config.heads, -1))[:, rows]

        if not isinstance(w, nn.QuantizedLinear):
            weight = block("weight")
            return x @ (weight.swapaxes(-1, -2) if transpose else weight)
        return mx.quantized_matmul(
            x,
            block("weight"),
            scales=block("scales"),
            biases=block("biases") if w.get("biases") is not None else None,
            transpose=transpose,
            group_size=w.group_size,
            bits=w.bits,
            mode=w.mode,
        )


class SplitLatentAttention(LatentAttention):
    """MLA with a matrix per head and direction, `embed_q` and `unembed_out`, as in mlx-lm."""

    def add_up_projections(self) -> None:
        c = self.config
        self.embed_q = MultiLinear(c.nope_dim, c.kv_rank, c.heads)  # [H, R, N]
        self.unembed_out = MultiLinear(c.kv_rank, c.value_dim, c.heads)  # [H, V, R]

    def absorbable(self) -> bool:
        return True

    def expand(self, latent: mx.array) -> tuple[mx.array, mx.array]:
        return self.embed_q(latent, transpose=False), self.unembed_out(latent)

    def absorb_queries(self, q_nope: mx.array) -> mx.array:
        return self.embed_q(q_nope)

    def unembed(self, out: mx.array) -> mx.array:
        return self.unembed_out(out)
