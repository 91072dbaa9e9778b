"""DeepSeek-V3, R1, V3.1 (arXiv:2412.19437): MLA, sigmoid-routed experts, MTP layers."""

from mlx_deepseek.layers.mla import LAYOUTS
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.config import read_decoder


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek_v3` config; stored split per head, as mlx-lm stores it."""
    decoder = read_decoder(config, "mla", scorings=("sigmoid",), methods=("noaux_tc",))
    return CausalLM(decoder, LAYOUTS[layout or "split"])
