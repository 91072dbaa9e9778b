"""Weight maps: for each architecture, which tensors of a release become which parameters."""

from collections.abc import Callable, Mapping, Sequence

from mlx_deepseek.config import Json
from mlx_deepseek.models import architecture
from mlx_deepseek_convert.maps import deepseek, dense, vision
from mlx_deepseek_convert.rules import Rule

MAPS: Mapping[str, Callable[[Json], Sequence[Rule]]] = {
    "deepseek": deepseek.v1_rules,
    "deepseek_v2": deepseek.v2_rules,
    "deepseek_v3": deepseek.v3_rules,
    "deepseek_v32": deepseek.v32_rules,
    "deepseek_vl": vision.vl_rules,
    "deepseek_vl2": vision.vl2_rules,
    "deepseek_ocr": vision.ocr_rules,
    "llama": dense.llama_rules,
    "qwen2": dense.qwen2_rules,
    "qwen3": dense.qwen3_rules,
}


def rules_for(config: Json) -> Sequence[Rule]:
    """The weight map of a config's architecture.

    Raises:
        ConfigError: this version does not know the architecture.
    """
    return MAPS[architecture(config)](config)
