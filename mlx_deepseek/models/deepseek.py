"""DeepSeekMoE-16B (arXiv:2401.06066): multi-head attention, softmax-routed experts."""

from mlx_deepseek.config import Json, read_decoder
from mlx_deepseek.layers.mha import MultiHeadAttention
from mlx_deepseek.models.causal_lm import CausalLM


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek` config; it has one weight layout."""
    return CausalLM(read_decoder(config, "mha"), MultiHeadAttention)
