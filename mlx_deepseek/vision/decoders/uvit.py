"""JanusFlow's shallow U-ViT (arXiv:2411.07975 §3.1): ConvNeXt blocks that know the time.

The encoder makes the language model's input of noisy latents, the decoder a velocity of its output
and of what the encoder saw. h and w are the sides of the language model's grid.
"""

import math

import mlx.core as mx
import mlx.nn as nn


class GlobalResponseNorm(nn.Module):
    """Channels against each other by their length over the grid (arXiv:2301.00808 §3)."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = mx.zeros((1, 1, 1, width))
        self.bias = mx.zeros((1, 1, 1, width))

    def __call__(self, x: mx.array) -> mx.array:
        """Normalise x [B, h, w, C]."""
        # Sums over the grid overflow or lose digits in 16 bits.
        lengths = mx.sqrt(x.astype(mx.float32).square().sum(axis=(1, 2), keepdims=True))
        share = lengths / (lengths.mean(axis=-1, keepdims=True) + 1e-6)
        return x * (self.weight * share.astype(x.dtype) + 1) + self.bias


class ConvNeXtBlock(nn.Module):
    """A wide depthwise convolution and an MLP; the time scales and shifts what comes out."""

    def __init__(self, width: int, hidden: int, eps: float):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.RMSNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, 4 * width)
        self.response_norm = GlobalResponseNorm(4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        self.modulation = nn.Linear(hidden, 2 * width)

    def __call__(self, x: mx.array, time: mx.array) -> mx.array:
        """Transform x [B, h, w, C] at times [B, D]."""
        y = nn.gelu(self.fc1(self.norm(self.depthwise(x))))
        x = x + self.fc2(self.response_norm(y))
        scale, shift = mx.split(self.modulation(nn.silu(time))[:, None, None], 2, axis=-1)
        return x * (1 + scale) + shift


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time through two layers."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.width = width
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, hidden)

    def __call__(self, times: mx.array) -> mx.array:
        """Embeddings [B, D] of times [B] in [0, 1000), angles in float32."""
        half = self.width // 2
        angles = times[:, None] * mx.exp(-math.log(10_000) * mx.arange(half) / half)
        waves = mx.concatenate([mx.cos(angles), mx.sin(angles)], axis=-1)
        return self.fc2(nn.silu(self.fc1(waves.astype(self.fc1.weight.dtype))))


class FlowEncoder(nn.Module):
    """Noisy latents and their time to features of a grid half their side."""

    def __init__(self, latent: int, width: int, hidden: int, depth: int, eps: float = 1e-6):
        super().__init__()
        self.time = TimeEmbedding(width, hidden)
        self.conv_in = nn.Conv2d(latent, width, 2, stride=2)
        self.blocks = [ConvNeXtBlock(width, hidden, eps) for _ in range(depth)]

    def __call__(self, latents: mx.array, times: mx.array) -> tuple[mx.array, mx.array]:
        """Features [B, h, w, C] and time embeddings [B, D] of latents [B, 2h, 2w, c], times [B]."""
        time = self.time(times)
        x = self.conv_in(latents.astype(time.dtype))
        for block in self.blocks:
            x = block(x, time)
        return x, time


class FlowDecoder(nn.Module):
    """The language model's features, with the encoder's beside them, to a velocity."""

    def __init__(self, width: int, latent: int, hidden: int, depth: int, eps: float = 1e-6):
        super().__init__()
        self.input_norm = nn.RMSNorm(width, eps=eps)
        self.blocks = [ConvNeXtBlock(2 * width, hidden, eps) for _ in range(depth)]
        self.norm_out = nn.RMSNorm(2 * width, eps=eps)
        self.out = nn.Linear(2 * width, 4 * latent)

    def __call__(self, x: mx.array, encoded: mx.array, time: mx.array) -> mx.array:
        """Velocity [B, 2h, 2w, c] of x and `encoded` [B, h, w, C] at times [B, D]."""
        x = mx.concatenate([self.input_norm(x), encoded], axis=-1)
        for block in self.blocks:
            x = block(x, time)
        x = mx.unflatten(self.out(self.norm_out(x)), -1, (-1, 2, 2))  # [B, h, w, c, 2, 2]
        return x.transpose(0, 1, 4, 2, 5, 3).flatten(1, 2).flatten(2, 3)
