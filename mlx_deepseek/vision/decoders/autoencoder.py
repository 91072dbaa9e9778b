"""The convolutional autoencoder that VQ-16 and SDXL's VAE share (arXiv:2112.10752 §3.1).

All arrays are channels last. h and w are the sides of the latent grid, C its channels.
"""

from dataclasses import dataclass
from itertools import pairwise

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from PIL import Image

EPS = 1e-6


@dataclass(frozen=True)
class AutoencoderConfig:
    """Widths from the picture's level to the latent grid's, each level half the side of the last.

    A level has `depth` residual blocks in the encoder, one more in the decoder. With `attention`
    the coarsest level attends after each block; the middle always does.
    """

    latent: int
    widths: tuple[int, ...]
    depth: int = 2
    groups: int = 32
    attention: bool = False

    @property
    def reduction(self) -> int:
        """Pixels along a side of one latent."""
        return 2 ** (len(self.widths) - 1)


class ResidualBlock(nn.Module):
    """Two convolutions, each behind a group norm and SiLU."""

    def __init__(self, inner: int, outer: int, groups: int):
        super().__init__()
        self.norm1 = group_norm(groups, inner)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.norm2 = group_norm(groups, outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        if inner != outer:
            self.shortcut = nn.Linear(inner, outer)

    def __call__(self, x: mx.array) -> mx.array:
        """[B, h, w, inner] to [B, h, w, outer]."""
        y = self.conv1(nn.silu(self.norm1(x)))
        y = self.conv2(nn.silu(self.norm2(y)))
        return (self.shortcut(x) if "shortcut" in self else x) + y


class SpatialAttention(nn.Module):
    """One head over all positions of the grid."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.norm = group_norm(groups, width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def __call__(self, x: mx.array) -> mx.array:
        """Attend within x [B, h, w, C]."""
        y = self.norm(x).flatten(1, 2)[:, None]  # [B, 1, h * w, C]
        q, k, v = self.q(y), self.k(y), self.v(y)
        y = mx.fast.scaled_dot_product_attention(q, k, v, scale=x.shape[-1] ** -0.5)
        return x + self.out(y[:, 0]).reshape(x.shape)


class Level(nn.Module):
    """Residual blocks of one width, with attention after each if asked for, then a resampling.

    `resample` is "up", "down" or None.
    """

    def __init__(
        self, widths: list[int], groups: int, *, attention: bool, resample: str | None = None
    ):
        super().__init__()
        self.blocks = [ResidualBlock(a, b, groups) for a, b in pairwise(widths)]
        if attention:
            self.attentions = [SpatialAttention(width, groups) for width in widths[1:]]
        self.resample = resample
        if resample == "up":
            self.conv = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        elif resample == "down":
            self.conv = nn.Conv2d(widths[-1], widths[-1], 3, stride=2)

    def __call__(self, x: mx.array) -> mx.array:
        """[B, h, w, C] to the next level's width and size."""
        for i, block in enumerate(self.blocks):
            x = block(x)
            if "attentions" in self:
                x = self.attentions[i](x)
        if self.resample == "up":
            return self.conv(mx.repeat(mx.repeat(x, 2, axis=1), 2, axis=2))
        if self.resample == "down":  # zeros right and below only
            return self.conv(mx.pad(x, [(0, 0), (0, 1), (0, 1), (0, 0)]))
        return x


class ConvEncoder(nn.Module):
    """Pixels to a grid of latents."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        c, width = config, config.widths[-1]
        self.conv_in = nn.Conv2d(3, c.widths[0], 3, padding=1)
        self.levels = levels((c.widths[0], *c.widths), c, c.depth, "down")
        self.mid = middle(width, c.groups)
        self.norm_out = group_norm(c.groups, width)
        self.conv_out = nn.Conv2d(width, c.latent, 3, padding=1)

    def __call__(self, pixels: mx.array) -> mx.array:
        """Latents [B, h, w, C] of pixels [B, H, W, 3] in [-1, 1]."""
        return run(self, pixels, [*self.levels, *self.mid])


class ConvDecoder(nn.Module):
    """A grid of latents to pixels."""

    def __init__(self, config: AutoencoderConfig):
        super().__init__()
        c, width = config, config.widths[-1]
        self.conv_in = nn.Conv2d(c.latent, width, 3, padding=1)
        self.mid = middle(width, c.groups)
        self.levels = levels((width, *reversed(c.widths)), c, c.depth + 1, "up")
        self.norm_out = group_norm(c.groups, c.widths[0])
        self.conv_out = nn.Conv2d(c.widths[0], 3, 3, padding=1)

    def __call__(self, latents: mx.array) -> mx.array:
        """Pixels [B, H, W, 3], about in [-1, 1], of latents [B, h, w, C]."""
        return run(self, latents, [*self.mid, *self.levels])


def run(model: ConvEncoder | ConvDecoder, x: mx.array, parts: list[nn.Module]) -> mx.array:
    """x through the convolution at the beginning, `parts`, and the one at the end."""
    x = model.conv_in(x.astype(model.conv_in.weight.dtype))
    for part in parts:
        x = part(x)
    return model.conv_out(nn.silu(model.norm_out(x)))


def levels(
    widths: tuple[int, ...], config: AutoencoderConfig, depth: int, resample: str
) -> list[Level]:
    """The levels that lead through `widths`; the last one keeps its size."""
    last = len(config.widths) - 1
    return [
        Level(
            [widths[i], *[widths[i + 1]] * depth],
            config.groups,
            attention=config.attention and i == (last if resample == "down" else 0),
            resample=resample if i < last else None,
        )
        for i in range(last + 1)
    ]


def middle(width: int, groups: int) -> list[nn.Module]:
    """The blocks at the coarsest size."""
    return [
        ResidualBlock(width, width, groups),
        SpatialAttention(width, groups),
        ResidualBlock(width, width, groups),
    ]


def group_norm(groups: int, width: int) -> nn.GroupNorm:
    """PyTorch's group norm."""
    return nn.GroupNorm(groups, width, eps=EPS, pytorch_compatible=True)


def as_picture(pixels: mx.array) -> Image.Image:
    """An RGB picture of pixels [H, W, 3]; bytes are truncated, as in the originals."""
    values = np.array(mx.clip(pixels.astype(mx.float32), -1.0, 1.0))
    return Image.fromarray(((values + 1) / 2 * 255).astype(np.uint8))
