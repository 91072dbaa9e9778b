"""What a model would take with a recipe, before there is any checkpoint of it."""

from collections.abc import Mapping
from typing import Any

import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_deepseek_convert.planning import recipes
from mlx_deepseek_convert.planning.outputs import Output
from mlx_deepseek_convert.planning.plan import quantizable


def stored_bytes(model: nn.Module, recipe: str = "4bit") -> Mapping[str, int]:
    """Bytes of each parameter of an unquantized model, by name, as `recipe` would store it.

    What a release has in fewer bits than the recipe would stay as it is, which is not known here.

    Raises:
        ConfigError: there is no such recipe.
    """
    table, eligible = recipes.get(recipe), quantizable(model)
    routed = any(".switch_mlp." in path for path in eligible)
    sizes: dict[str, int] = {}
    parameters: Any = tree_flatten(model.parameters())
    for name, value in parameters:
        path = name.removesuffix(".weight")
        quantized = name.endswith(".weight") and path in eligible
        setting = table.setting(path, value.shape, routed=routed) if quantized else None
        sizes[name] = Output(name, value.shape, "BF16", setting).nbytes
    return sizes
