"""Every open-weight DeepSeek model on your own machine, on MLX."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_deepseek.engine import Caching, Chat, Chunk, Completion, Engine, Usage, load
    from mlx_deepseek.errors import DeepSeekError
    from mlx_deepseek.generate import Sampling

__version__ = "0.1.0"
__all__ = [
    "Caching",
    "Chat",
    "Chunk",
    "Completion",
    "DeepSeekError",
    "Engine",
    "Sampling",
    "Usage",
    "load",
]

_HOMES = {
    "Caching": "engine",
    "Chat": "engine",
    "Chunk": "engine",
    "Completion": "engine",
    "DeepSeekError": "errors",
    "Engine": "engine",
    "Sampling": "generate",
    "Usage": "engine",
    "load": "engine",
}


def __getattr__(name: str) -> Any:
    """Import a public name's home on first use, so that `import mlx_deepseek` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
