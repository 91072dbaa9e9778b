"""Multi-head attention (arXiv:1706.03762) with rotary embedding, for DeepSeekMoE-16B."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.base import scaled_dot_product_attention
from mlx_lm.models.cache import KVCache

from mlx_deepseek.layers.masks import Mask
from mlx_deepseek.layers.rope import Rope, RopeConfig
from mlx_deepseek.layers.step import Step, mask_of


@dataclass(frozen=True)
class MHAConfig:
    """Multi-head attention with optionally shared key/value heads."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    rope: RopeConfig
    bias: bool = False


class MultiHeadAttention(nn.Module):
    """H query heads over `kv_heads` key/value heads; the cache holds rotated keys and values."""

    def __init__(self, config: MHAConfig):
        super().__init__()
        self.config = config
        width, kv_width = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden, width, bias=config.bias)
        self.k_proj = nn.Linear(config.hidden, kv_width, bias=config.bias)
        self.v_proj = nn.Linear(config.hidden, kv_width, bias=config.bias)
        self.o_proj = nn.Linear(width, config.hidden, bias=config.bias)
        self.rope = Rope(config.rope)
        self.scale = config.head_dim**-0.5  # YaRN changes it in MLA only

    def make_cache(self) -> KVCache:
        """An empty cache of rotated keys and values."""
        return KVCache()

    @property
    def cache_width(self) -> int:
        """Numbers cached per token."""
        return 2 * self.config.kv_heads * self.config.head_dim

    def __call__(self, x: mx.array, mask: Step | Mask = None, cache=None) -> mx.array:
        """Attend from x [B, L, D] to the cache and itself; a mask may stand in for a step."""
        mask = mask_of(mask, x, cache)
        offset = cache.offset if cache is not None else 0
        queries = self.rope(self.heads(self.q_proj(x)), offset)  # [B, H, L, dim]
        keys = self.rope(self.heads(self.k_proj(x)), offset)
        values = self.heads(self.v_proj(x))
        if cache is not None:
            keys, values = cache.update_and_fetch(keys, values)  # [B, kv_heads, S, dim]
        out = scaled_dot_product_attention(
            queries,
            keys,
            values,
            cache=cache,
            scale=self.scale,
            mask=mask,  # pyright: ignore[reportArgumentType]
        )
        return self.o_proj(out.transpose(0, 2, 1, 3).flatten(-2))

    def heads(self, x: mx.array) -> mx.array:
        """[B, L, heads * dim] to [B, heads, L, dim]."""
        return mx.unflatten(x, -1, (-1, self.config.head_dim)).transpose(0, 2, 1, 3)
