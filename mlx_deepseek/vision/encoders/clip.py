"""CLIP's vision transformer (arXiv:2103.00020) on features in place of pixels (2510.18234 §3.2)."""

from dataclasses import dataclass
from math import isqrt

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.vision.encoders.resize import resize
from mlx_deepseek.vision.encoders.vit import EncoderLayer, quick_gelu


@dataclass(frozen=True)
class CLIPConfig:
    """Sizes; the defaults are CLIP-L. `positions` counts the patches of its position table."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    positions: int = 256


class CLIP(nn.Module):
    """A class token and a square of patches through a transformer."""

    def __init__(self, config: CLIPConfig):
        super().__init__()
        c = config
        self.class_embedding = mx.zeros((c.width,))
        self.position_embedding = mx.zeros((1 + c.positions, c.width))
        self.pre_layrnorm = nn.LayerNorm(c.width, eps=1e-5)
        self.blocks = [
            EncoderLayer(c.width, c.heads, 4 * c.width, quick_gelu, eps=1e-5)
            for _ in range(c.layers)
        ]

    def __call__(self, patches: mx.array) -> mx.array:
        """Features [B, 1 + h * w, C] of the class token and of patches [B, h, w, C]."""
        B, h, w, C = patches.shape
        token = mx.broadcast_to(self.class_embedding, (B, 1, C))
        x = mx.concatenate([token, patches.flatten(1, 2)], axis=1) + self.positions(h, w)
        x = self.pre_layrnorm(x)
        for block in self.blocks:
            x = block(x)
        return x

    def positions(self, h: int, w: int) -> mx.array:
        """The position table [1 + h * w, C], resized where the picture has another size."""
        first, rest = mx.split(self.position_embedding, [1])
        side = isqrt(rest.shape[0])
        if (h, w) != (side, side):
            grid = mx.unflatten(rest, 0, (side, side))
            rest = resize(grid, (h, w), "bicubic", antialias=True).astype(rest.dtype).flatten(0, 1)
        return mx.concatenate([first, rest])
