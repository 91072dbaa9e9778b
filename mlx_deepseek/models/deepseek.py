"""DeepSeekMoE-16B (arXiv:2401.06066): multi-head attention, softmax-routed experts."""

from mlx_deepseek.layers.mha import MultiHeadAttention
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.config import read_decoder


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek` config; it has one weight layout."""
    decoder = read_decoder(config, "mha", scorings=("softmax",), methods=("greedy",))
    return CausalLM(decoder, MultiHeadAttention)
