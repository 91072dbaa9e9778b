"""DeepSeek-V2, V2.5 and Coder-V2 (arXiv:2405.04434): MLA, softmax-routed experts in groups."""

from mlx_deepseek.layers.mla import LAYOUTS
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.config import read_decoder


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek_v2` config; stored with `kv_b_proj`, as mlx-lm stores it."""
    methods = ("greedy", "group_limited_greedy")
    decoder = read_decoder(config, "mla", scorings=("softmax",), methods=methods)
    return CausalLM(decoder, LAYOUTS[layout or "kv_b_proj"])
