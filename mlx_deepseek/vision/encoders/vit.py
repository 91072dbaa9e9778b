"""The vision transformer's block and patches (arXiv:2010.11929), which all encoders share."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn

Activation = Callable[[mx.array], mx.array]


def quick_gelu(x: mx.array) -> mx.array:
    """CLIP's approximation of GELU."""
    return x * mx.sigmoid(1.702 * x)


class PatchEmbed(nn.Module):
    """Squares of `patch_px` pixels as vectors: a convolution whose stride is its size."""

    def __init__(self, patch_px: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch_px, stride=patch_px)

    def __call__(self, pixels: mx.array) -> mx.array:
        """[B, H, W, 3] to [B, H / patch, W / patch, C]; pixels past the last patch are left out.

        Whatever follows is computed in the weights' type, not in the pixels'.
        """
        weight = self.proj.weight  # [C, p, p, 3]
        side = weight.shape[1]
        rows, columns = pixels.shape[1] // side, pixels.shape[2] // side
        x = pixels[:, : rows * side, : columns * side].astype(weight.dtype)
        x = x.reshape(x.shape[0], rows, side, columns, side, 3).swapaxes(2, 3)  # [B, h, w, p, p, 3]
        return x.flatten(3) @ weight.flatten(1).T + self.proj.bias


class Attention(nn.Module):
    """Attention among all positions, queries, keys and values from one projection."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def __call__(self, x: mx.array) -> mx.array:
        """Attend within x [B, L, C]."""
        q, k, v = self.split(x)
        out = mx.fast.scaled_dot_product_attention(q, k, v, scale=q.shape[-1] ** -0.5)
        return self.merge(out)

    def split(self, x: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Queries, keys and values [B, H, L, C / H] of x [B, L, C]."""
        qkv = mx.unflatten(self.qkv(x), -1, (3, self.heads, -1))  # [B, L, 3, H, C / H]
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)  # [B, H, L, C / H] each
        return q, k, v

    def merge(self, out: mx.array) -> mx.array:
        """The output [B, L, C] of heads [B, H, L, C / H]."""
        return self.proj(out.transpose(0, 2, 1, 3).flatten(-2))


class VisionMLP(nn.Module):
    """Two layers with an activation between."""

    def __init__(self, width: int, inner: int, activation: Activation):
        super().__init__()
        self.activation = activation
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def __call__(self, x: mx.array) -> mx.array:
        """Each position of x [..., C] by itself."""
        return self.fc2(self.activation(self.fc1(x)))


class EncoderLayer(nn.Module):
    """Attention and an MLP, each behind a norm and a residual."""

    def __init__(self, width: int, heads: int, inner: int, activation: Activation, eps: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = VisionMLP(width, inner, activation)

    def __call__(self, x: mx.array) -> mx.array:
        """Transform x [B, L, C]."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))
