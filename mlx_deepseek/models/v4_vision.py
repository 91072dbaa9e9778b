"""V4's vision release and V4.1: the text model itself, with an encoder beside its embedding.

Tokens of pictures differ from those of text in more than their embeddings (routing, Engram, masks),
so the text model is told which they are, by numbers below zero in their places.
"""

from dataclasses import dataclass

import mlx.core as mx

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.compressed_attention import CompressedAttention
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.config import ConfigReader
from mlx_deepseek.models.decoder import DecoderConfig
from mlx_deepseek.models.vision_lm import ImageModel
from mlx_deepseek.vision.encoders.projector import DownsamplingProjector
from mlx_deepseek.vision.encoders.rotary_vit import RotaryViT, RotaryViTConfig
from mlx_deepseek.vision.tiling.patches import KINDS, PATCHES, PatchPlan, PatchReader
from mlx_deepseek.vision.tiling.plan import Pixels


@dataclass(frozen=True)
class PictureConfig:
    """An encoder, and how pictures are cut; rows are paired where there is padding to do it."""

    encoder: RotaryViTConfig
    reader: PatchReader


class PictureLM(CausalLM, ImageModel):
    """A text model of compressed attention that reads pictures."""

    def __init__(self, config: DecoderConfig, pictures: PictureConfig):
        super().__init__(config, CompressedAttention)
        self.reader = pictures.reader
        self.vision = RotaryViT(pictures.encoder)
        width, ratio = pictures.encoder.width, pictures.reader.ratio
        self.projector = DownsamplingProjector(width, config.hidden, 2, ratio)
        self.image_start = mx.zeros((config.hidden,))
        self.image_newline = mx.zeros((config.hidden,))
        self.image_end = mx.zeros((config.hidden,))
        if pictures.reader.paired:
            self.image_pad = mx.zeros((config.hidden,))

    def see(self, pixels: Pixels, plan: PatchPlan) -> mx.array:
        features = self.projector(self.vision(pixels.view), (plan.rows, plan.columns))[0]
        padding = self.get("image_pad", self.image_start)
        learned = mx.stack([self.image_start, padding, padding, self.image_newline, self.image_end])
        table = mx.concatenate([learned.astype(features.dtype), features])
        rows = [len(KINDS) + row if kind == PATCHES else kind - 1 for kind, row in plan.layout]
        return table[mx.array(rows)]


# What V4 and V4.1 call the same: width, layers, heads, inner width, base of rotations, side of the
# squares of patches that are one token, most tokens and least pixels of a picture, widest shape.
V4_KEYS = (
    *("dim", "n_layers", "n_heads", "inter_dim", "patch_size", "rope_theta"),
    *("downsample_ratio", "max_n_token", "min_pixels", "max_wh_ratio"),
)
V41_KEYS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size"),
    *("rope_theta", "downsample_ratio", "max_image_tokens", "min_pixels", "max_wh_ratio"),
)
PREFIX = "vision_"  # of V4's keys


def read_v4_pictures(config: Json) -> PictureConfig | None:
    """The encoder of a `deepseek_v4` config; None: of text alone.

    Raises:
        ConfigError: a key is missing or unknown.
    """
    own = {key.removeprefix(PREFIX): v for key, v in config.items() if key.startswith(PREFIX)}
    if not own.get("n_layers"):
        return None
    return read_pictures({**own, "model_type": "vision"}, V4_KEYS, paired=True)


def read_v41_pictures(config: Json) -> PictureConfig | None:
    """The encoder of a `deepseek_v41` config; None, and errors, as `read_v4_pictures`."""
    own = config.get("vision_config")
    return read_pictures(own, V41_KEYS, paired=False) if own else None


def read_pictures(config: Json, keys: tuple[str, ...], *, paired: bool) -> PictureConfig:
    """Sizes under the names `keys`, in the order of V4_KEYS."""
    reader = ConfigReader(config)
    width, layers, heads, inner, patch, theta, ratio, most, least = map(reader.need, keys[:-1])
    widest = reader.get(keys[-1], None)
    reader.finish()
    if width % (4 * heads):
        raise ConfigError(
            f"config.json has a vision encoder of width {width} with {heads} heads. Expected a "
            "multiple of 4 numbers per head, which rotations by row and column need."
        )
    encoder = RotaryViTConfig(width, layers, heads, inner, patch, float(theta))
    return PictureConfig(encoder, PatchReader(patch, ratio, most, least, widest, paired))
