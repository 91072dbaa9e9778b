"""Janus and Janus-Pro (arXiv:2410.13848, 2501.17811): DeepSeek-VL that also draws, code by code.

Pictures are understood through SigLIP and drawn as VQ-16's codes, which have an embedding and a
head of their own beside the words'.
"""

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.config_reader import ConfigReader
from mlx_deepseek.models.deepseek_vl import DeepSeekVL, read_aligner
from mlx_deepseek.models.vision_lm import part
from mlx_deepseek.vision.decoders.autoencoder import AutoencoderConfig
from mlx_deepseek.vision.decoders.vq import VQTokenizer
from mlx_deepseek.vision.encoders.projector import MLPProjector

# VQ-16's widths, as multiples of the first.
WIDTHS = (1, 1, 2, 2, 4)


class CodeHead(nn.Module):
    """Hidden states to logits of codes."""

    def __init__(self, width: int, inner: int, codes: int):
        super().__init__()
        self.fc = nn.Linear(width, inner)
        self.out = nn.Linear(inner, codes)

    def __call__(self, x: mx.array) -> mx.array:
        """[..., D] to [..., codes]."""
        return self.out(nn.gelu(self.fc(x)))


class Janus(DeepSeekVL):
    """A picture's codes follow its prompt like words, row by row."""

    draws = "codes"

    def __init__(self, config: Json):
        super().__init__(config)
        vq, codes, dim = read_vq(config)
        image_px = part(part(config, "vision_config"), "params")["image_size"]
        self.code_side = image_px // vq.reduction
        self.vq = VQTokenizer(vq, codes, dim)
        self.code_embed = nn.Embedding(codes, dim)
        self.code_projector = MLPProjector(*read_aligner(config, "mlp_gelu", "gen_aligner_config"))
        self.code_head = CodeHead(*read_head(config))

    @property
    def drawing_tokens(self) -> int:
        """Positions that a picture takes after its prompt."""
        return self.code_side**2

    def embed_codes(self, codes: mx.array) -> mx.array:
        """Embeddings [..., D] of codes [...]."""
        return self.code_projector(self.code_embed(codes))


def read_vq(config: Json) -> tuple[AutoencoderConfig, int, int]:
    """VQ-16's sizes, the number of codes and of each code's numbers."""
    outer = part(config, "gen_vision_config")
    ConfigReader(outer).only("cls", "VQ-16")
    reader = ConfigReader(part(outer, "params"))
    first = reader.get("ch", 128)
    sizes = AutoencoderConfig(
        latent=reader.get("z_channels", 256),
        widths=tuple(first * width for width in WIDTHS),
        groups=reader.get("num_groups", 32),
        attention=True,
    )
    codes = reader.need("image_token_size"), reader.need("n_embed")
    reader.finish()
    return sizes, *codes


def read_head(config: Json) -> tuple[int, int, int]:
    """The code head's widths."""
    reader = ConfigReader(part(part(config, "gen_head_config"), "params"))
    sizes = tuple(reader.need(key) for key in ("n_embed", "image_token_embed", "image_token_size"))
    reader.finish()
    return sizes  # type: ignore[return-value]


def build(config: Json, layout: str | None = None) -> Janus:
    """The model of a `multi_modality` config with a `gen_vision_config`."""
    return Janus(config)
