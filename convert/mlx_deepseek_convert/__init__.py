"""Hugging Face checkpoints (BF16, FP8) to quantized MLX ones, by a declared weight map.

from mlx_deepseek_convert import convert, plan
print(plan("DeepSeek-V2-Lite", "4bit").bits_per_weight)
report = convert("DeepSeek-V2-Lite", "DeepSeek-V2-Lite-4bit", "4bit")

What is there   headers, pairing -> tensors -> source (a folder) or remote (the hub)
What it means   maps, rules -> ops, laws -> steps; adapters
What to store   recipes -> outputs, exact -> planner: a Plan, from headers alone
Where it goes   pieces: every byte's place, before a value is read
Doing it        write: supply, download -> pipeline -> writer -> sealing; workspace, journal
Around it       checks, amounts, companions, card, upload, api, command
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlx_deepseek_convert.recipes import RECIPES

if TYPE_CHECKING:
    from mlx_deepseek_convert.api import Plan, Report, convert, export, is_source, plan, weights

__all__ = ["RECIPES", "Plan", "Report", "convert", "export", "is_source", "plan", "weights"]


def __getattr__(name: str) -> Any:
    """Import the rest on first use: mlx-lm takes a second, and the command line lists commands."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.api"), name)
