"""DeepSeek-V3, R1, V3.1 (arXiv:2412.19437): MLA, sigmoid-routed experts, MTP layers."""

from mlx_deepseek.config import Json, read_decoder
from mlx_deepseek.layers.mla import LatentAttention, SplitLatentAttention
from mlx_deepseek.models.causal_lm import CausalLM

LAYOUTS = {None: SplitLatentAttention, "kv_b_proj": LatentAttention, "split": SplitLatentAttention}


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek_v3` config; stored split per head, as mlx-lm stores it."""
    decoder = read_decoder(config, "mla", scoring="sigmoid", method="noaux_tc")
    return CausalLM(decoder, LAYOUTS[layout])
