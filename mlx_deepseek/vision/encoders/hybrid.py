"""DeepSeek-VL-7B's pair of encoders (arXiv:2403.05525 §3.1): SAM for detail, SigLIP for meaning."""

from dataclasses import dataclass, field

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.vision.encoders.resize import resize
from mlx_deepseek.vision.encoders.sam import SAM, SAMConfig, neck, run_blocks
from mlx_deepseek.vision.encoders.siglip import SigLIP, SigLIPConfig

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """What is taken from each colour, and what it is divided by."""

    mean: Channels = (0.5, 0.5, 0.5)
    std: Channels = (0.5, 0.5, 0.5)

    def __call__(self, pixels: mx.array) -> mx.array:
        """Normalise pixels [..., 3]."""
        return (pixels - mx.array(self.mean)) / mx.array(self.std)


CLIP_COLOURS = Normalisation(
    (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
)


@dataclass(frozen=True)
class HybridConfig:
    """Both encoders' sizes and normalisations."""

    high: SAMConfig = field(default_factory=SAMConfig)
    low: SigLIPConfig = field(default_factory=SigLIPConfig)
    high_colours: Normalisation = CLIP_COLOURS
    low_colours: Normalisation = Normalisation()

    @property
    def side(self) -> int:
        """Patches along a side, of both."""
        return self.low.side


class DetailedSAM(SAM):
    """SAM whose first global block's features are added to the last ones."""

    def __init__(self, config: SAMConfig, side: int):
        super().__init__(config)
        self.side = side
        self.neck_hd = neck(config.width, config.neck_width)
        self.hd_alpha_downsamples = mx.zeros((1,))

    def __call__(self, pixels: mx.array) -> mx.array:
        """Features [B, side, side, C] of pixels [B, h, w, 3]."""
        x, first = self.embed(pixels), None
        for block in self.blocks:
            x = block(x)
            if first is None and not block.window:
                first = x
        assert first is not None
        detail = self.compress(run_blocks(self.neck_hd, first))
        return self.compress(run_blocks(self.neck, x)) + detail * self.hd_alpha_downsamples

    def compress(self, x: mx.array) -> mx.array:
        """Features resized to four times the side, which the convolutions then divide."""
        size = (4 * self.side, 4 * self.side)
        resized = resize(x, size, "bilinear", antialias=False).astype(x.dtype)
        return run_blocks(self.downsamples, resized)


class HybridTower(nn.Module):
    """Pixels in [0, 1] to the features of both encoders, patch by patch."""

    def __init__(self, config: HybridConfig):
        super().__init__()
        self.config = config
        self.high = DetailedSAM(config.high, config.side)
        self.low = SigLIP(config.low)

    def __call__(self, pixels: mx.array) -> tuple[mx.array, mx.array]:
        """Features [B, side * side, C] twice, of pixels [B, px, px, 3]."""
        c = self.config
        high = self.high(c.high_colours(pixels)).flatten(1, 2)
        return high, self.low(c.low_colours(self.shrink(pixels)))

    def shrink(self, pixels: mx.array) -> mx.array:
        """The picture at the second encoder's size; it is normalised afterwards."""
        size = (self.config.low.image_px, self.config.low.image_px)
        return resize(pixels, size, "bilinear", antialias=True).astype(pixels.dtype)
