"""DeepSeek's open-weight models on your own machine, on MLX."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_deepseek.engine.caching import Caching
    from mlx_deepseek.engine.chat import Chat
    from mlx_deepseek.engine.engine import Engine
    from mlx_deepseek.engine.load import load
    from mlx_deepseek.errors import (
        Busy,
        CheckpointError,
        ConfigError,
        DeepSeekError,
        HostsError,
        ImageError,
        LeanError,
        MemoryLimitError,
        PromptError,
    )
    from mlx_deepseek.generation.results import Chunk, Completion, TokenLogprob, Usage
    from mlx_deepseek.generation.sampling import Sampling
    from mlx_deepseek.generation.stream import AsyncStream, Stream

__version__ = "0.1.0"
__all__ = [
    "AsyncStream",
    "Busy",
    "Caching",
    "Chat",
    "CheckpointError",
    "Chunk",
    "Completion",
    "ConfigError",
    "DeepSeekError",
    "Engine",
    "HostsError",
    "ImageError",
    "LeanError",
    "MemoryLimitError",
    "PromptError",
    "Sampling",
    "Stream",
    "TokenLogprob",
    "Usage",
    "load",
]

_HOMES = {
    "AsyncStream": "generation.stream",
    "Busy": "errors",
    "Caching": "engine.caching",
    "Chat": "engine.chat",
    "CheckpointError": "errors",
    "Chunk": "generation.results",
    "Completion": "generation.results",
    "ConfigError": "errors",
    "DeepSeekError": "errors",
    "Engine": "engine.engine",
    "HostsError": "errors",
    "ImageError": "errors",
    "LeanError": "errors",
    "MemoryLimitError": "errors",
    "PromptError": "errors",
    "Sampling": "generation.sampling",
    "Stream": "generation.stream",
    "TokenLogprob": "generation.results",
    "Usage": "generation.results",
    "load": "engine.load",
}


def __getattr__(name: str) -> Any:
    """Import a public name's home on first use, so that `import mlx_deepseek` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # transformers, which mlx-lm brings, has advice for those who train; it is nobody's business.
    quiet = "TRANSFORMERS_NO_ADVISORY_WARNINGS"
    spoken = os.environ.get(quiet)
    os.environ[quiet] = "1"
    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    finally:
        os.environ.pop(quiet)
        if spoken is not None:
            os.environ[quiet] = spoken


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
