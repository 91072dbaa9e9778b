"""DeepSeek-V4.1 (arXiv:2609.19969): shared compressors, candidate blocks, Engram."""

from mlx_deepseek.layers.compressed_attention import CompressedAttention
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.compressed_config_v41 import read_v41, text_of
from mlx_deepseek.models.v4_vision import PictureLM, read_v41_pictures


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek_v41` config, with pictures or not; it has one weight layout."""
    text, pictures = read_v41(text_of(config)), read_v41_pictures(config)
    if pictures is not None:
        return PictureLM(text, pictures)
    return CausalLM(text, CompressedAttention)
