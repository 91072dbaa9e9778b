"""DeepSeek-V3.2-Exp and V3.2: V3 with sparse attention (DeepSeek-V3.2 report, §2.1)."""

from mlx_deepseek.layers.mla import LAYOUTS
from mlx_deepseek.layers.rope import Json
from mlx_deepseek.models.causal_lm import CausalLM
from mlx_deepseek.models.config import read_decoder


def build(config: Json, layout: str | None = None) -> CausalLM:
    """The model of a `deepseek_v32` config; stored as V3 is."""
    decoder = read_decoder(config, "sparse_mla", scorings=("sigmoid",), methods=("noaux_tc",))
    return CausalLM(decoder, LAYOUTS[layout or "split"])
