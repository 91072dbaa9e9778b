"""What a tool is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlx_deepseek.errors import DeepSeekError


class ToolError(DeepSeekError):
    """A tool that cannot be called, or has failed."""


@dataclass(frozen=True)
class Tool:
    """`function` is what the model is told: name, description, parameters (a JSON schema).

    `call` takes the arguments and gives the result as text, or raises ToolError. `source` says
    whose the tool is.
    """

    function: dict[str, Any]
    call: Callable[[dict[str, Any]], str]
    source: str

    @property
    def name(self) -> str:
        """By which the model calls it."""
        return self.function["name"]
