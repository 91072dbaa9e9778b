"""SigLIP's vision transformer (arXiv:2303.15343): no class token, features of all patches."""

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.vision.encoders.vit import Activation, EncoderLayer, PatchEmbed


@dataclass(frozen=True)
class SigLIPConfig:
    """Sizes; the defaults are SigLIP-L at 384 pixels. `gelu` is "exact" or "tanh"."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    inner: int = 4096
    image_px: int = 384
    patch_px: int = 16
    gelu: str = "exact"

    @property
    def side(self) -> int:
        """Patches along a side."""
        return self.image_px // self.patch_px


# DeepSeek-VL was trained with the exact function, VL2 with the approximation.
GELU: dict[str, Activation] = {"exact": nn.gelu, "tanh": nn.gelu_approx}


class SigLIP(nn.Module):
    """Pixels to features of `side` x `side` patches."""

    def __init__(self, config: SigLIPConfig):
        super().__init__()
        c = config
        self.patch_embed = PatchEmbed(c.patch_px, c.width)
        self.pos_embed = mx.zeros((1, c.side**2, c.width))
        self.blocks = [
            EncoderLayer(c.width, c.heads, c.inner, GELU[c.gelu], eps=1e-6) for _ in range(c.layers)
        ]
        self.norm = nn.LayerNorm(c.width, eps=1e-6)

    def __call__(self, pixels: mx.array) -> mx.array:
        """Features [B, side * side, C] of pixels [B, px, px, 3]."""
        x = self.patch_embed(pixels).flatten(1, 2) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
