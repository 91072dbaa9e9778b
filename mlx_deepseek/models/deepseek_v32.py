"""DeepSeek-V3.2-Exp and V3.2: V3 with sparse attention (DeepSeek-V3.2 report, §2.1)."""

from mlx_deepseek.config import Json, read_decoder
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.deepseek_v3 import LAYOUTS


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek_v32` config; stored as V3 is."""
    decoder = read_decoder(config, "sparse_mla", scoring="sigmoid", method="noaux_tc")
    return CausalLM(decoder, LAYOUTS[layout])
