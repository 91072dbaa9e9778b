"""DeepSeek-VL (arXiv:2403.05525): SigLIP, in the 7B with SAM beside it, and LLM V1."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from PIL import Image

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models import dense
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.models.vision_lm import VisionLM, part
from mlx_deepseek.vision.encoders.hybrid import (
    CLIP_COLOURS,
    HybridConfig,
    HybridTower,
    Normalisation,
)
from mlx_deepseek.vision.encoders.projector import HybridProjector, MLPProjector
from mlx_deepseek.vision.encoders.sam import SAMConfig
from mlx_deepseek.vision.encoders.siglip import SigLIP, SigLIPConfig
from mlx_deepseek.vision.tiling.pixels import resized, scaled
from mlx_deepseek.vision.tiling.plan import Pixels, Size, TilePlan

# A longer picture's short side would vanish.
SHORTEST_PX = 14
# What transformers' LlamaConfig assumes where the language_config is silent.
LANGUAGE_DEFAULTS: Json = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
}
# What the hybrid's towers have beside their sizes.
COLOURED = "output_dim", "pixel_mean", "pixel_std"


@dataclass(frozen=True)
class VLReader:
    """One view of the whole picture; the 7B's encoders normalise colours themselves."""

    image_px: int
    side: int
    background: tuple[int, int, int]
    colours: Normalisation | None

    def plan(self, sizes: Sequence[Size]) -> list[TilePlan]:
        """Always `side` x `side` tokens, without newlines or a separator."""
        plan = TilePlan(self.image_px, self.side, newlines=False, separator=False)
        return [plan for _ in sizes]

    def pixels(self, picture: Image.Image, plan: TilePlan) -> Pixels:
        """The picture in the middle of a square."""
        values = scaled([self.squared(picture)])
        if self.colours is not None:
            mean, std = (np.array(c, np.float32) for c in (self.colours.mean, self.colours.std))
            values = (values - mean) / std
        return Pixels(mx.array(values))

    def squared(self, picture: Image.Image) -> Image.Image:
        """Shrunk or enlarged to the view's size, on the background."""
        longest = max(picture.size)
        width, height = (
            max(int(length / longest * self.image_px), SHORTEST_PX) for length in picture.size
        )
        square = Image.new("RGB", (self.image_px, self.image_px), self.background)
        place = ((self.image_px - width) // 2, (self.image_px - height) // 2)
        square.paste(resized(picture, (width, height)), place)
        return square


class DeepSeekVL(VisionLM):
    """A tower, a projector and a Llama-shaped model."""

    def __init__(self, config: Json):
        language = dense.build({**LANGUAGE_DEFAULTS, **part(config, "language_config")})
        vision = part(config, "vision_config")
        if vision.get("cls") == "HybridVisionTower":
            hybrid = read_hybrid(part(vision, "params"))
            sizes = read_aligner(config, "low_high_hybrid_split_mlp_gelu")
            background = as_bytes(hybrid.high_colours.mean)
            reader = VLReader(hybrid.high.image_px, hybrid.side, background, None)
            tower, projector = HybridTower(hybrid), HybridProjector(*sizes)
        else:
            single = read_siglip(part(vision, "params"))
            sizes = read_aligner(config, "mlp_gelu")
            colours = Normalisation()
            background = as_bytes(colours.mean)
            reader = VLReader(single.image_px, single.side, background, colours)
            tower, projector = SigLIP(single), MLPProjector(*sizes)
        super().__init__(language, reader)
        self.vision: Any = tower
        self.projector: Any = projector

    def encode(self, pixels: mx.array) -> mx.array:
        return self.projector(self.vision(pixels))

    def see(self, pixels: Pixels, plan: TilePlan) -> mx.array:
        return self.encoded(pixels.view)[0]


def as_bytes(colour: tuple[float, float, float]) -> tuple[int, int, int]:
    """A colour in [0, 1] as the original truncates it to bytes."""
    red, green, blue = (int(value * 255) for value in colour)
    return red, green, blue


def read_aligner(config: Json, kind: str, key: str = "aligner_config") -> tuple[int, int, int]:
    """A projector's widths and depth."""
    reader = ConfigReader(part(part(config, key), "params"))
    reader.only("projector_type", kind)
    sizes = reader.need("input_dim"), reader.need("n_embed"), reader.get("depth", 1)
    reader.finish()
    return sizes


def read_tower(params: Json, name: str, *known: str) -> ConfigReader:
    """A tower's keys, of which `known` are read elsewhere."""
    reader = ConfigReader(params)
    reader.only("model_name", name)
    reader.only("select_feature", "same")
    reader.only("select_layer", -1)
    reader.seen |= {"ckpt_path", *known}
    return reader


def read_siglip(params: Json, *known: str) -> SigLIPConfig:
    """SigLIP-L's sizes."""
    reader = read_tower(params, "siglip_large_patch16_384", *known)
    width = reader.get("width", 1024)
    siglip = SigLIPConfig(
        width=width,
        layers=reader.get("layers", 24),
        heads=reader.get("heads", 16),
        inner=4 * width,
        image_px=reader.need("image_size"),
        gelu="exact",
    )
    reader.finish()
    return siglip


def read_hybrid(params: Json) -> HybridConfig:
    """Both towers' sizes and colours."""
    high, low = part(params, "high_res_cfg"), part(params, "low_res_cfg")
    if params.get("concat_type", "tuple") != "tuple":
        raise ConfigError(f"concat_type is {params['concat_type']!r}. Expected 'tuple'.")
    reader = read_tower(high, "sam_b_downsample", *COLOURED)
    sizes = SAMConfig()
    sam = SAMConfig(
        width=reader.get("width", sizes.width),
        layers=reader.get("layers", sizes.layers),
        heads=reader.get("heads", sizes.heads),
        image_px=reader.need("image_size"),
        global_layers=tuple(reader.get("global_attn_indexes", sizes.global_layers)),
        neck_width=reader.get("prompt_embed_dim", sizes.neck_width),
        compressed=tuple(reader.get("downsample_channels", sizes.compressed)),
    )
    reader.finish()
    siglip = read_siglip(low, *COLOURED)
    return HybridConfig(sam, siglip, colours(high, CLIP_COLOURS), colours(low))


def colours(config: Json, default: Normalisation | None = None) -> Normalisation:
    """A tower's normalisation."""
    default = default or Normalisation()
    mean, std = config.get("pixel_mean", default.mean), config.get("pixel_std", default.std)
    return Normalisation(tuple(mean), tuple(std))


def build(config: Json, layout: str | None = None) -> DeepSeekVL:
    """The model of a `multi_modality` config that does not draw."""
    return DeepSeekVL(config)
