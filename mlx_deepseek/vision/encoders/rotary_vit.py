"""V4's and V4.1's vision transformer: any grid of patches, places as rotations by row and column.

No table of positions: half of each head's pairs turn with the row, half with the column
(arXiv:2104.09864, in two dimensions). Blocks are as in the language model: RMSNorm and SwiGLU.
"""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.vision.encoders.vit import Attention

EPS = 1e-6
# Queries at a time: all scores of the largest picture would take 5 GB where no fused kernel runs.
QUERIES = 1024


@dataclass(frozen=True)
class RotaryViTConfig:
    """Sizes; `theta` is the base of the rotations' wavelengths."""

    width: int
    layers: int
    heads: int
    inner: int
    patch_px: int
    theta: float


class RotaryViT(nn.Module):
    """Pixels to features of all patches."""

    def __init__(self, config: RotaryViTConfig):
        super().__init__()
        self.config = c = config
        self.patch_embed = Patches(c.patch_px, c.width)
        self.blocks = [RotaryBlock(c) for _ in range(c.layers)]
        self.norm = nn.RMSNorm(c.width, eps=EPS)

    def __call__(self, pixels: mx.array) -> mx.array:
        """Features [B, rows * columns, C] of pixels [B, H, W, 3], row by row."""
        c = self.config
        rows, columns = pixels.shape[1] // c.patch_px, pixels.shape[2] // c.patch_px
        turns = rotations(rows, columns, c.width // c.heads, c.theta)
        x = self.patch_embed(pixels)
        for block in self.blocks:
            x = block(x, *turns)
        return self.norm(x)


class Patches(nn.Module):
    """Squares of pixels as vectors, colour by colour."""

    def __init__(self, patch_px: int, width: int):
        super().__init__()
        self.patch_px = patch_px
        self.proj = nn.Linear(3 * patch_px**2, width)

    def __call__(self, pixels: mx.array) -> mx.array:
        """[B, H, W, 3] to [B, H / patch * W / patch, C], in the weights' type."""
        B, H, W, _ = pixels.shape
        side = self.patch_px
        cut = pixels.reshape(B, H // side, side, W // side, side, 3).transpose(0, 1, 3, 5, 2, 4)
        return self.proj(cut.reshape(B, -1, 3 * side**2).astype(self.dtype))

    @property
    def dtype(self) -> mx.Dtype:
        """What the projection computes in; packed weights have scales of that type."""
        return self.proj.bias.dtype


class RotaryAttention(Attention):
    """Attention among all patches, queries and keys turned by their places."""

    def turned(self, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
        """Attend within x [B, L, C]; `cos` and `sin` [L, C / H / 2]."""
        q, k, v = self.split(x)
        q, k = rotated(q, cos, sin), rotated(k, cos, sin)
        scale, out = q.shape[-1] ** -0.5, []
        for start in range(0, q.shape[2], QUERIES):
            part = q[:, :, start : start + QUERIES]
            out.append(mx.fast.scaled_dot_product_attention(part, k, v, scale=scale))
        return self.merge(mx.concatenate(out, axis=2))


class SwiGLU(nn.Module):
    """Gate and value from one projection."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * inner, bias=False)
        self.fc2 = nn.Linear(inner, width, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """Each position of x [..., C] by itself."""
        gate, value = mx.split(self.fc1(x), 2, axis=-1)
        return self.fc2(nn.silu(gate) * value)


class RotaryBlock(nn.Module):
    """Attention and a SwiGLU, each behind a norm and a residual."""

    def __init__(self, config: RotaryViTConfig):
        super().__init__()
        self.norm1 = nn.RMSNorm(config.width, eps=EPS)
        self.attn = RotaryAttention(config.width, config.heads)
        self.norm2 = nn.RMSNorm(config.width, eps=EPS)
        self.mlp = SwiGLU(config.width, config.inner)

    def __call__(self, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
        """Transform x [B, L, C]."""
        x = x + self.attn.turned(self.norm1(x), cos, sin)
        return x + self.mlp(self.norm2(x))


def rotations(rows: int, columns: int, dim: int, theta: float) -> tuple[mx.array, mx.array]:
    """Cosines and sines [rows * columns, dim / 2]: of the row in the first half, then the column.

    In float32, whatever the weights are.
    """
    speeds = theta ** -(mx.arange(0, dim // 2, 2, dtype=mx.float32) / (dim // 2))  # [dim / 4]
    grid = mx.meshgrid(mx.arange(rows), mx.arange(columns), indexing="ij")
    places = mx.stack(list(grid), axis=-1)
    angles = (places[..., None] * speeds).reshape(rows * columns, -1)
    return mx.cos(angles), mx.sin(angles)


def rotated(x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """x [B, H, L, C], channel i turned together with channel i + C / 2."""
    first, second = mx.split(x.astype(mx.float32), 2, axis=-1)
    turned = [first * cos - second * sin, second * cos + first * sin]
    return mx.concatenate(turned, axis=-1).astype(x.dtype)
