"""DeepSeek-V2, V2.5 and Coder-V2 (arXiv:2405.04434): MLA, softmax-routed experts in groups."""

from mlx_deepseek.config import Json, read_decoder
from mlx_deepseek.layers.mla import LatentAttention, SplitLatentAttention
from mlx_deepseek.models.causal_lm import CausalLM

LAYOUTS = {None: LatentAttention, "kv_b_proj": LatentAttention, "split": SplitLatentAttention}


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek_v2` config; stored with `kv_b_proj`, as mlx-lm stores it."""
    return CausalLM(read_decoder(config, "mla"), LAYOUTS[layout])
