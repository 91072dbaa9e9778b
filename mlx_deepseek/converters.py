"""Finds the converter of Hugging Face checkpoints, which the library must not import."""

from importlib.metadata import entry_points
from typing import Any

from mlx_deepseek.errors import DeepSeekError

GROUP = "mlx_deepseek.converters"


def converter() -> Any:
    """The module with plan, convert, weights and is_source (entry point `huggingface`).

    Raises:
        DeepSeekError: none is installed.
    """
    found = list(entry_points(group=GROUP, name="huggingface"))
    if not found:
        raise DeepSeekError(
            "No converter for Hugging Face checkpoints is installed. Install mlx-deepseek as a "
            "package (`pip install .`), or give it an MLX checkpoint."
        )
    return found[0].load()
