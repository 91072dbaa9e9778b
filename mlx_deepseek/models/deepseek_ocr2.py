"""DeepSeek-OCR-2 (arXiv:2601.20552): OCR whose second encoder reads the picture with queries."""

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.models.deepseek_ocr import Mode, OCRReader, check_layout, read_projector, read_sam
from mlx_deepseek.models.vision_lm import VisionLM, deepseek_language, part
from mlx_deepseek.vision.encoders.qwen2 import QueryEncoder, Qwen2Config
from mlx_deepseek.vision.encoders.sam import SAM, SAMConfig
from mlx_deepseek.vision.tiling.layout import view
from mlx_deepseek.vision.tiling.plan import Pixels, TilePlan

MODES = {"base": Mode(1024), "gundam": Mode(1024, 768)}
MOST_TILES = 6
VIEW_SIDE, TILE_SIDE = 16, 12  # the encoder's grids


class QueryTower(nn.Module):
    """SAM's compressed features, read by queries."""

    def __init__(self, sam: SAMConfig, qwen2: Qwen2Config):
        super().__init__()
        self.sam = SAM(sam)
        self.qwen2 = QueryEncoder(qwen2, VIEW_SIDE, TILE_SIDE)

    def __call__(self, pixels: mx.array) -> mx.array:
        """Features [B, side * side, C] of pixels [B, px, px, 3]."""
        return self.qwen2(self.sam(pixels))


class DeepSeekOCR2(VisionLM):
    """Order of features: tiles one by one, view, separator; queries need no newlines."""

    pages_only = True

    def __init__(self, config: Json, layout: str | None = None):
        sam, qwen2 = read_encoder(config)
        reader = OCRReader(MODES, sam.patch_px, most_tiles=MOST_TILES, queries=True)
        super().__init__(deepseek_language(config, layout), reader)
        inner, width = read_projector(config)
        self.vision = QueryTower(sam, qwen2)
        self.projector = nn.Linear(inner, width)
        self.view_seperator = mx.zeros((width,))  # the release's spelling

    def encode(self, pixels: mx.array) -> mx.array:
        return self.projector(self.vision(pixels))

    def see(self, pixels: Pixels, plan: TilePlan) -> mx.array:
        parts = [view(self.encoded(pixels.view), plan).flatten(0, 1), self.view_seperator[None]]
        if pixels.tiles is not None:
            parts.insert(0, self.encoded(pixels.tiles).flatten(0, 1))
        return mx.concatenate(parts)


def read_encoder(config: Json) -> tuple[SAMConfig, Qwen2Config]:
    """SAM's and Qwen2's sizes."""
    vision = ConfigReader(part(config, "vision_config"))
    vision.seen |= {"mlp_ratio", "model_name", "width"}
    widths = part(vision.config, "width")
    qwen2 = ConfigReader(part(widths, "qwen2-0-5b"))
    default = Qwen2Config()
    sizes = Qwen2Config(
        width=qwen2.need("dim"),
        layers=qwen2.get("layers", default.layers),
        heads=qwen2.get("heads", default.heads),
        kv_heads=qwen2.get("kv_heads", default.kv_heads),
        inner=qwen2.get("intermediate_size", default.inner),
    )
    image_px = vision.need("image_size")
    for reader in (vision, qwen2):
        reader.finish()
    # The last of the released downsample_channels, 1024, is OCR's; the weights have Qwen2's width.
    return read_sam(part(widths, "sam_vit_b"), image_px, last=sizes.width), sizes


def build(config: Json, layout: str | None = None) -> DeepSeekOCR2:
    """The model of a `deepseek_vl_v2` config with a DeepEncoder V2."""
    check_layout(config)
    return DeepSeekOCR2(config, layout)
