"""DeepSeek-VL2 (arXiv:2412.10302): SigLIP on dynamic tiles, MLA and experts."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import mlx.core as mx
from PIL.Image import Image

from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.models.vision_lm import VisionLM, deepseek_language, part
from mlx_deepseek.vision.encoders.projector import DownsamplingProjector
from mlx_deepseek.vision.encoders.siglip import SigLIP, SigLIPConfig
from mlx_deepseek.vision.tiling.layout import mosaic, rows, view
from mlx_deepseek.vision.tiling.pixels import centred, cut, fitted
from mlx_deepseek.vision.tiling.plan import Pixels, Size, TilePlan, best_resolution

# More pictures in one prompt are not cut into tiles.
TILED_PICTURES = 2
# How mlx-vlm chose what it quantized; the tensors say what. It pads the encoder's MLP with zeros
# to whole groups, and then `intermediate_size` is its width.
QUANTIZED_BY = {"skip_vision", "skip_vision_non_divisible"}


@dataclass(frozen=True)
class VL2Reader:
    """A global view, and tiles of the candidate resolution that suits the picture best."""

    candidates: tuple[Size, ...]
    image_px: int
    side: int

    def plan(self, sizes: Sequence[Size]) -> list[TilePlan]:
        """Above two pictures each has one tile, a copy of its view."""
        candidates = self.candidates
        if len(sizes) > TILED_PICTURES:
            candidates = ((self.image_px, self.image_px),)
        return [self._plan(best_resolution(size, candidates)) for size in sizes]

    def _plan(self, resolution: Size) -> TilePlan:
        px, side = self.image_px, self.side
        columns, rows = (length // px for length in resolution)
        return TilePlan(px, side, px, side, columns, rows)

    def pixels(self, picture: Image, plan: TilePlan) -> Pixels:
        """Views in [-1, 1], on grey."""
        px = plan.tile_px
        whole = fitted(picture, (plan.columns * px, plan.rows * px))
        return Pixels(centred([fitted(picture, (px, px))]), centred(cut(whole, px)))


class DeepSeekVL2(VisionLM):
    """Order of features: view, separator, tiles; a newline ends each row of either."""

    def __init__(self, config: Json, layout: str | None = None):
        vision = read_vision(config)
        width, depth, ratio = read_projector(config, vision.width)
        candidates = tuple((w, h) for w, h in config["candidate_resolutions"])
        reader = VL2Reader(candidates, vision.image_px, ceil(vision.side / ratio))
        super().__init__(deepseek_language(config, layout), reader)
        self.vision = SigLIP(vision)
        self.projector = DownsamplingProjector(vision.width, width, depth, ratio)
        self.image_newline = mx.zeros((width,))
        self.view_seperator = mx.zeros((width,))  # the release's spelling

    def encode(self, pixels: mx.array) -> mx.array:
        return self.projector(self.vision(pixels))

    def see(self, pixels: Pixels, plan: TilePlan) -> mx.array:
        assert pixels.tiles is not None
        features = self.encoded(mx.concatenate([pixels.view, pixels.tiles]))
        whole, tiles = view(features[:1], plan), mosaic(features[1:], plan)
        newline = self.image_newline
        return mx.concatenate(
            [rows(whole, newline), self.view_seperator[None], rows(tiles, newline)]
        )


def read_vision(config: Json) -> SigLIPConfig:
    """SigLIP-SO400M's sizes; releases leave some of them out."""
    reader = ConfigReader(part(config, "vision_config"))
    reader.only("model_name", "siglip_so400m_patch14_384")
    reader.seen |= QUANTIZED_BY
    width = reader.need("width")
    vision = SigLIPConfig(
        width=width,
        layers=reader.need("layers"),
        heads=reader.get("heads", 16),
        inner=reader.get("intermediate_size", int(width * reader.get("mlp_ratio", 3.7362))),
        image_px=reader.get("image_size", 384),
        patch_px=reader.need("patch_size"),
        gelu="tanh",
    )
    reader.finish()
    return vision


def read_projector(config: Json, inner: int) -> tuple[int, int, int]:
    """The projector's width, depth and side of the squares that it joins."""
    reader = ConfigReader(part(config, "projector_config"))
    reader.only("projector_type", "downsample_mlp_gelu")
    reader.only("input_dim", inner)
    reader.only("mlp_ratio", 1)
    reader.only("token_pooling", False)
    sizes = reader.need("n_embed"), reader.get("depth", 2), reader.get("downsample_ratio", 2)
    reader.finish()
    return sizes


def build(config: Json, layout: str | None = None) -> DeepSeekVL2:
    """The model of a `deepseek_vl_v2` config with SigLIP."""
    ConfigReader(config).only("tile_tag", "2D")
    ConfigReader(config).only("global_view_pos", "head")
    return DeepSeekVL2(config, layout)
