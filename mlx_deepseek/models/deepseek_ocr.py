"""DeepSeek-OCR (arXiv:2510.18234): SAM, a 16x compressor, CLIP; plain attention and experts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import mlx.core as mx
import mlx.nn as nn
from PIL.Image import Image

from mlx_deepseek.errors import ImageError
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.models.vision_lm import VisionLM, deepseek_language, part
from mlx_deepseek.vision.encoders.clip import CLIP, CLIPConfig
from mlx_deepseek.vision.encoders.sam import SAM, SAMConfig
from mlx_deepseek.vision.tiling.layout import mosaic, rows, view
from mlx_deepseek.vision.tiling.pixels import centred, cut, fitted, resized
from mlx_deepseek.vision.tiling.plan import Pixels, Size, TilePlan, best_grid

COMPRESSION = 4  # of each side, by the convolutions after SAM's patches


@dataclass(frozen=True)
class Mode:
    """Sides in pixels of the global view and of tiles (None: no tiles).

    A picture is stretched to the view, or keeps its shape on grey.
    """

    view_px: int
    tile_px: int | None = None
    stretched: bool = False


MODES: Mapping[str, Mode] = {
    "tiny": Mode(512, stretched=True),
    "small": Mode(640, stretched=True),
    "base": Mode(1024),
    "large": Mode(1280),
    "gundam": Mode(1024, 640),
}


@dataclass(frozen=True)
class OCRReader:
    """One of the original's modes; the Hugging Face model cuts at most 9 tiles, vLLM's 6."""

    modes: Mapping[str, Mode]
    patch_px: int = 16
    mode: str = "gundam"
    most_tiles: int = 9
    queries: bool = False  # read the view: no newlines, and every token is about the picture

    def at(self, mode: str) -> "OCRReader":
        """The reader of another mode.

        Raises:
            ImageError: there is none of that name.
        """
        if mode not in self.modes:
            raise ImageError(f"Mode is {mode!r}. Expected one of {', '.join(self.modes)}.")
        return replace(self, mode=mode)

    def plan(self, sizes: Sequence[Size]) -> list[TilePlan]:
        """Tiles only for pictures that are larger than one."""
        return [self._plan(size) for size in sizes]

    def _plan(self, size: Size) -> TilePlan:
        mode = self.modes[self.mode]
        plan = TilePlan(
            mode.view_px,
            self._side(mode.view_px),
            newlines=not self.queries,
            padded=not (self.queries or mode.stretched),
        )
        if mode.tile_px is None or max(size) <= mode.tile_px:
            return plan
        columns, rows = best_grid(size, self.most_tiles, mode.tile_px)
        side = self._side(mode.tile_px)
        return replace(plan, tile_px=mode.tile_px, tile_side=side, columns=columns, rows=rows)

    def _side(self, pixels: int) -> int:
        return ceil(pixels // self.patch_px / COMPRESSION)

    def pixels(self, picture: Image, plan: TilePlan) -> Pixels:
        """Views in [-1, 1]; the tiles are stretched, as in the original."""
        px = plan.view_px
        if self.modes[self.mode].stretched:
            return Pixels(centred([resized(picture, (px, px))]))
        whole = centred([fitted(picture, (px, px))])
        if not plan.tiles:
            return Pixels(whole)
        size = (plan.columns * plan.tile_px, plan.rows * plan.tile_px)
        return Pixels(whole, centred(cut(resized(picture, size), plan.tile_px)))


class DeepEncoder(nn.Module):
    """SAM's compressed features, and CLIP's of them, side by side."""

    def __init__(self, sam: SAMConfig, clip: CLIPConfig):
        super().__init__()
        self.sam = SAM(sam)
        self.clip = CLIP(clip)

    def __call__(self, pixels: mx.array) -> mx.array:
        """Features [B, side * side, 2 C] of pixels [B, px, px, 3]."""
        local = self.sam(pixels)
        meaning = self.clip(local)[:, 1:]  # without the class token
        return mx.concatenate([meaning, local.flatten(1, 2)], axis=-1)


class DeepSeekOCR(VisionLM):
    """Order of features: tiles, view, separator; a newline ends each row of either."""

    pages_only = True

    def __init__(self, config: Json, layout: str | None = None):
        encoder = read_encoder(config)
        patch_px = encoder[0].patch_px
        super().__init__(deepseek_language(config, layout), reader_of(config, patch_px))
        inner, width = read_projector(config)
        self.vision = DeepEncoder(*encoder)
        self.projector = nn.Linear(inner, width)
        self.image_newline = mx.zeros((width,))
        self.view_seperator = mx.zeros((width,))  # the release's spelling

    def encode(self, pixels: mx.array) -> mx.array:
        return self.projector(self.vision(pixels))

    def see(self, pixels: Pixels, plan: TilePlan) -> mx.array:
        newline = self.image_newline
        parts = [rows(view(self.encoded(pixels.view), plan), newline), self.view_seperator[None]]
        if pixels.tiles is not None:
            parts.insert(0, rows(mosaic(self.encoded(pixels.tiles), plan), newline))
        return mx.concatenate(parts)


def reader_of(config: Json, patch_px: int) -> OCRReader:
    """The reader for the views that a model was trained on; a small one has a single mode."""
    ((view_px, _), *_) = config.get("candidate_resolutions") or [[MODES["base"].view_px] * 2]
    if view_px == MODES["base"].view_px:
        return OCRReader(MODES, patch_px)
    own = next((mode for mode in MODES.values() if mode.view_px == view_px), Mode(view_px))
    return OCRReader({"base": own}, patch_px, "base")


def read_projector(config: Json) -> tuple[int, int]:
    """The width of the encoder's features, and of the language model."""
    reader = ConfigReader(part(config, "projector_config"))
    reader.only("projector_type", "linear")
    widths = reader.need("input_dim"), reader.need("n_embed")
    reader.finish()
    return widths


def read_encoder(config: Json) -> tuple[SAMConfig, CLIPConfig]:
    """SAM's and CLIP's sizes."""
    vision = ConfigReader(part(config, "vision_config"))
    vision.seen |= {"mlp_ratio", "model_name", "width"}  # the first is a leftover: both have 4
    widths = part(vision.config, "width")
    clip = ConfigReader(part(widths, "clip-l-14-224"))
    clip_px, clip_patch = clip.need("image_size"), clip.need("patch_size")
    sizes = CLIPConfig(
        width=clip.need("width"),
        layers=clip.need("layers"),
        heads=clip.need("heads"),
        positions=(clip_px // clip_patch) ** 2,
    )
    image_px = vision.need("image_size")
    for reader in (vision, clip):
        reader.finish()
    return read_sam(part(widths, "sam_vit_b"), image_px), sizes


def read_sam(config: Json, image_px: int, last: int | None = None) -> SAMConfig:
    """SAM's sizes; `last` replaces the width of the last compressing convolution."""
    reader = ConfigReader(config)
    *before, final = reader.need("downsample_channels")
    sizes = SAMConfig(
        width=reader.need("width"),
        layers=reader.need("layers"),
        heads=reader.need("heads"),
        image_px=image_px,
        window=reader.get("window_size", 14),
        global_layers=tuple(reader.need("global_attn_indexes")),
        neck_width=reader.get("out_chans", 256),
        compressed=(*before, last or final),
    )
    reader.finish()
    return sizes


def check_layout(config: Json) -> None:
    """Raise ConfigError for another order of a picture's features than the released one."""
    ConfigReader(config).only("tile_tag", "2D")
    ConfigReader(config).only("global_view_pos", "head")


def build(config: Json, layout: str | None = None) -> DeepSeekOCR:
    """The model of a `deepseek_vl_v2` config with a DeepEncoder."""
    check_layout(config)
    return DeepSeekOCR(config, layout)
