"""JanusFlow (arXiv:2411.07975): a language model that draws by rectified flow.

It sees a picture in the making as a grid of noisy latents after the prompt, with the time before
them, and says in which direction they should move. Another checkpoint's VAE makes pixels of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models import dense
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.models.deepseek_vl import LANGUAGE_DEFAULTS, VLReader, as_bytes, read_siglip
from mlx_deepseek.models.vision_lm import VisionLM, part
from mlx_deepseek.vision.decoders.uvit import FlowDecoder, FlowEncoder
from mlx_deepseek.vision.encoders.hybrid import Normalisation
from mlx_deepseek.vision.encoders.siglip import SigLIP
from mlx_deepseek.vision.tiling.plan import Pixels, Size, TilePlan

PATCH = 2  # latents along a side of one position of the language model
REDUCTION = 8  # pixels along a side of one latent, of SDXL's VAE
TIMES = 1000.0  # the time at which nothing is left to do


@dataclass(frozen=True)
class JanusFlowReader(VLReader):
    """DeepSeek-VL's view, behind one embedding that says that a picture begins."""

    def plan(self, sizes: Sequence[Size]) -> list[TilePlan]:
        plan = TilePlan(self.image_px, self.side, newlines=False, separator=True)
        return [plan for _ in sizes]


class JanusFlow(VisionLM):
    """SigLIP and a linear layer to understand, U-ViTs and linear layers to draw."""

    draws = "flow"

    def __init__(self, config: Json):
        vision = part(config, "vision_und_enc_config")
        siglip = read_siglip(part(vision, "params"))
        colours = Normalisation()
        language: Any = dense.build({**LANGUAGE_DEFAULTS, **part(config, "language_config")})
        background = as_bytes(colours.mean)
        super().__init__(
            language, JanusFlowReader(siglip.image_px, siglip.side, background, colours)
        )
        hidden = language.args.hidden_size
        self.vision = SigLIP(siglip)
        self.projector = nn.Linear(siglip.width, hidden)
        self.picture_begin = mx.zeros((1, hidden))
        latent, encoder = read_flow_encoder(config)
        width, decoder = read_flow_decoder(config, latent)
        self.latent = latent
        self.latent_side = siglip.image_px // REDUCTION
        self.flow_encoder = FlowEncoder(latent, width, hidden, *encoder)
        self.flow_in = nn.Linear(width, hidden)
        self.flow_norm = nn.RMSNorm(hidden, eps=language.args.rms_norm_eps)
        self.flow_out = nn.Linear(hidden, width)
        self.flow_decoder = FlowDecoder(width, latent, hidden, *decoder)

    @property
    def drawing_tokens(self) -> int:
        """Positions that a picture takes after its prompt."""
        return (self.latent_side // PATCH) ** 2

    def encode(self, pixels: mx.array) -> mx.array:
        return self.projector(self.vision(pixels))

    def see(self, pixels: Pixels, plan: TilePlan) -> mx.array:
        features = self.encoded(pixels.view)[0]
        return mx.concatenate([self.picture_begin.astype(features.dtype), features])

    def velocity(self, latents: mx.array, time: float, cache: Any) -> mx.array:
        """Where latents [B, 2h, 2w, c] should move at a `time` in [0, 1), behind a cached prompt.

        The language model reads the time, then the grid in reading order; each position sees those
        before it.
        """
        B = latents.shape[0]
        encoded, times = self.flow_encoder(latents, mx.full((B,), time * TIMES))
        seen = mx.concatenate([times[:, None], self.flow_in(encoded.flatten(1, 2))], axis=1)
        hidden = self.language.model(None, cache, seen)[:, 1:]  # [B, h * w, D]
        x = self.flow_out(self.flow_norm(hidden)).reshape(encoded.shape)
        return self.flow_decoder(x, encoded, times)


def read_flow_encoder(config: Json) -> tuple[int, tuple[int, float]]:
    """The flow encoder's latent channels, and its depth and epsilon."""
    reader = read_uvit(config, "vision_gen_enc_config", "ShallowUViTEncoder")
    for key, value in (("kernel_size", PATCH), ("stride", PATCH), ("padding", 0)):
        reader.only(key, value)
    latent = reader.need("input_channels")
    reader.get("hidden_size", None)
    reader.get("block_out_channels", None)
    sizes = reader.get("layers_in_middle", 2), reader.get("norm_eps", 1e-6)
    reader.finish()
    return latent, sizes


def read_flow_decoder(config: Json, latent: int) -> tuple[int, tuple[int, float]]:
    """The flow decoder's width, and its depth and epsilon."""
    reader = read_uvit(config, "vision_gen_dec_config", "ShallowUViTDecoder")
    reader.only("upsamples", 1)
    reader.only("out_channels", latent)
    width = reader.need("in_channels")
    reader.only("block_out_channels", [width])
    reader.get("hidden_size", None)
    sizes = reader.get("layers_in_middle", 2), reader.get("norm_eps", 1e-6)
    reader.finish()
    return width, sizes


def read_uvit(config: Json, key: str, kind: str) -> ConfigReader:
    """A U-ViT's keys, of which those that are never otherwise are checked."""
    outer = part(config, key)
    ConfigReader(outer).only("cls", kind)
    reader = ConfigReader(part(outer, "params"))
    for name in ("elementwise_affine", "use_bias", "use_mid_block"):
        reader.only(name, True)
    reader.get("dropout", 0.0)
    return reader


def build(config: Json, layout: str | None = None) -> JanusFlow:
    """The model of a `multi_modality` config without an aligner."""
    return JanusFlow(config)
