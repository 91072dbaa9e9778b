"""SAM's image encoder (arXiv:2304.02643 §A), with the convolutions that compress it 16 times.

Most blocks attend within windows, some globally; both add to the scores what the query makes of
the key's relative row and column (arXiv:2112.01526 §4.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.vision.encoders.resize import resize, resize_table
from mlx_deepseek.vision.encoders.vit import Attention, EncoderLayer, PatchEmbed

# Scores held at a time; further queries wait for their turn.
SCORES_AT_A_TIME = 1 << 23


@dataclass(frozen=True)
class SAMConfig:
    """Sizes; the defaults are SAM-B. `image_px` is what position tables were learned at."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    image_px: int = 1024
    patch_px: int = 16
    window: int = 14
    global_layers: tuple[int, ...] = (2, 5, 8, 11)
    neck_width: int = 256
    compressed: tuple[int, ...] = (512, 1024)

    @property
    def side(self) -> int:
        """Patches along a side."""
        return self.image_px // self.patch_px


class RelativeAttention(Attention):
    """Attention on a grid of at most `side` x `side` positions, relative ones included."""

    def __init__(self, width: int, heads: int, side: int):
        super().__init__(width, heads)
        self.rel_pos_h = mx.zeros((2 * side - 1, width // heads))
        self.rel_pos_w = mx.zeros((2 * side - 1, width // heads))

    def __call__(self, x: mx.array) -> mx.array:
        """Attend within x [B, h, w, C]."""
        B, h, w, _ = x.shape
        q, k, v = self.split(x.flatten(1, 2))
        grid = mx.unflatten(q, 2, (h, w))  # [B, H, h, w, D]
        by_row = mx.einsum("bnhwd,hkd->bnhwk", grid, between(self.rel_pos_h, h))
        by_column = mx.einsum("bnhwd,wkd->bnhwk", grid, between(self.rel_pos_w, w))
        step = max(1, SCORES_AT_A_TIME // (B * self.heads * w * h * w))  # rows of queries
        parts = []
        for start in range(0, h, step):
            rows = slice(start, start + step)
            bias = by_row[:, :, rows, :, :, None] + by_column[:, :, rows, :, None]
            bias = bias.flatten(2, 3).flatten(3)  # [B, H, rows * w, h * w]
            parts.append(
                mx.fast.scaled_dot_product_attention(
                    grid[:, :, rows].flatten(2, 3), k, v, scale=q.shape[-1] ** -0.5, mask=bias
                )
            )
        return mx.unflatten(self.merge(mx.concatenate(parts, axis=2)), 1, (h, w))


def between(table: mx.array, side: int) -> mx.array:
    """Vectors [query, key, D] of all pairs on a line, from a table of differences [L, D]."""
    places = mx.arange(side)
    return resize_table(table, 2 * side - 1)[places[:, None] - places + side - 1]


class WindowBlock(EncoderLayer):
    """A block whose attention sees windows of `window` x `window`; 0: everything."""

    def __init__(self, config: SAMConfig, window: int):
        c = config
        super().__init__(c.width, c.heads, 4 * c.width, nn.gelu, eps=1e-6)
        self.window = window
        self.attn = RelativeAttention(c.width, c.heads, window or c.side)

    def __call__(self, x: mx.array) -> mx.array:
        """Transform x [B, h, w, C]."""
        x = x + self.attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def attend(self, x: mx.array) -> mx.array:
        """Attention in windows; those at the edge are filled with zeros, which are seen."""
        if not self.window:
            return self.attn(x)
        side, (B, h, w, C) = self.window, x.shape
        x = mx.pad(x, [(0, 0), (0, -h % side), (0, -w % side), (0, 0)])
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.reshape(B, rows, side, columns, side, C).swapaxes(2, 3)
        x = self.attn(x.reshape(-1, side, side, C))
        x = x.reshape(B, rows, columns, side, side, C).swapaxes(2, 3)
        return x.reshape(B, rows * side, columns * side, C)[:, :h, :w]


def neck(inner: int, outer: int) -> list[nn.Module]:
    """Two convolutions that narrow the features, each with a norm."""
    return [
        nn.Conv2d(inner, outer, 1, bias=False),
        nn.LayerNorm(outer, eps=1e-6),
        nn.Conv2d(outer, outer, 3, padding=1, bias=False),
        nn.LayerNorm(outer, eps=1e-6),
    ]


class SAM(nn.Module):
    """Pixels to features of a grid that has 1/64 of their side."""

    def __init__(self, config: SAMConfig):
        super().__init__()
        c = config
        self.patch_embed = PatchEmbed(c.patch_px, c.width)
        self.pos_embed = mx.zeros((1, c.side, c.side, c.width))
        self.blocks = [
            WindowBlock(c, 0 if layer in c.global_layers else c.window) for layer in range(c.layers)
        ]
        self.neck = neck(c.width, c.neck_width)
        widths = (c.neck_width, *c.compressed)
        self.downsamples = [
            nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False) for a, b in pairwise(widths)
        ]

    def __call__(self, pixels: mx.array) -> mx.array:
        """Features [B, h / 64, w / 64, C] of pixels [B, h, w, 3]."""
        x = self.embed(pixels)
        for block in self.blocks:
            x = block(x)
        return run_blocks(self.downsamples, run_blocks(self.neck, x))

    def embed(self, pixels: mx.array) -> mx.array:
        """Patches with their positions, whose table is resized to the picture."""
        x = self.patch_embed(pixels)
        table = self.pos_embed
        if table.shape[1:3] != x.shape[1:3]:
            size = (x.shape[1], x.shape[2])
            table = resize(table, size, "bicubic", antialias=True).astype(table.dtype)
        return x + table


def run_blocks(layers: Sequence[nn.Module], x: mx.array) -> mx.array:
    """x through one layer after the other."""
    for layer in layers:
        x = layer(x)
    return x
