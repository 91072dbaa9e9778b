"""Hugging Face checkpoints (BF16, FP8) to quantized MLX ones, by a declared weight map.

from mlx_deepseek_convert import convert, plan
print(plan("DeepSeek-V2-Lite", "4bit").bits_per_weight)
report = convert("DeepSeek-V2-Lite", "DeepSeek-V2-Lite-4bit", "4bit")

source     what there is: headers, FP8 and packed weights with their scales, adapters
mapping    what it means: weight maps, and the laws that tie them to a model
planning   what to store, and where every byte goes, before a value is read
write      doing it, in bounded memory, resumable
quality    how close a conversion is to its source, and how to get closer in the same bytes
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlx_deepseek_convert.planning.recipes import RECIPES

if TYPE_CHECKING:
    from mlx_deepseek_convert.mapping.steps import weights
    from mlx_deepseek_convert.planning.plan import Plan, plan
    from mlx_deepseek_convert.planning.stored_bytes import stored_bytes
    from mlx_deepseek_convert.source.find import find_source as open
    from mlx_deepseek_convert.source.find import is_source
    from mlx_deepseek_convert.write.run import Report, convert, export

__all__ = [
    "RECIPES",
    "Plan",
    "Report",
    "convert",
    "export",
    "is_source",
    "open",
    "plan",
    "stored_bytes",
    "weights",
]
_HOMES = {
    "Plan": "planning.plan:Plan",
    "Report": "write.run:Report",
    "convert": "write.run:convert",
    "export": "write.run:export",
    "is_source": "source.find:is_source",
    "open": "source.find:find_source",
    "plan": "planning.plan:plan",
    "stored_bytes": "planning.stored_bytes:stored_bytes",
    "weights": "mapping.steps:weights",
}


def __getattr__(name: str) -> Any:
    """Import the rest on first use: mlx-lm takes a second, and the command line lists commands."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
