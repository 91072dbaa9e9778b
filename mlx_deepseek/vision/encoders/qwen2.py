"""DeepEncoder V2's second half (arXiv:2601.20552 §3.2): a Qwen2 whose queries read a picture.

Patches see each other. As many learned queries come after them and see all patches, and of the
queries those before them, so they put the picture in an order to read it in.
"""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.qwen2 import ModelArgs, TransformerBlock

EPS, ROPE_THETA = 1e-6, 1_000_000.0


@dataclass(frozen=True)
class Qwen2Config:
    """Sizes; the defaults are Qwen2-0.5B's."""

    width: int = 896
    layers: int = 24
    heads: int = 14
    kv_heads: int = 2
    inner: int = 4864


class QueryEncoder(nn.Module):
    """Features of a picture to those of its queries; a whole view and a tile have their own."""

    def __init__(self, config: Qwen2Config, view_side: int, tile_side: int):
        super().__init__()
        c = config
        args = ModelArgs(
            model_type="qwen2",
            hidden_size=c.width,
            num_hidden_layers=c.layers,
            intermediate_size=c.inner,
            num_attention_heads=c.heads,
            num_key_value_heads=c.kv_heads,
            rms_norm_eps=EPS,
            vocab_size=0,
            rope_theta=ROPE_THETA,
        )
        self.view_queries = mx.zeros((view_side**2, c.width))
        self.tile_queries = mx.zeros((tile_side**2, c.width))
        self.layers = [TransformerBlock(args) for _ in range(c.layers)]
        self.norm = nn.RMSNorm(c.width, eps=EPS)

    def __call__(self, patches: mx.array) -> mx.array:
        """Features [B, h * w, C] of patches [B, h, w, C]."""
        x = patches.flatten(1, 2)
        count = x.shape[1]
        queries = self.view_queries if count == len(self.view_queries) else self.tile_queries
        queries = mx.broadcast_to(queries.astype(x.dtype), x.shape)
        x, mask = mx.concatenate([x, queries], axis=1), visible(count)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x[:, count:])


def visible(count: int) -> mx.array:
    """Which of `count` patches and as many queries each one sees, [2 count, 2 count]."""
    places = mx.arange(2 * count)
    return (places < count) | (places <= places[:, None])
