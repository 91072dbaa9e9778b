"""DeepSeek-V4 (arXiv:2606.19348): compressed attention, hyper-connections, routing by token."""

from mlx_deepseek.layers.compressed_attention import CompressedAttention
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.compressed_config import read_v4
from mlx_deepseek.models.v4_vision import PictureLM, read_v4_pictures


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek_v4` config, of text or with pictures; it has one weight layout."""
    pictures = read_v4_pictures(config)
    if pictures is not None:
        return PictureLM(read_v4(config), pictures)
    return CausalLM(read_v4(config), CompressedAttention)
