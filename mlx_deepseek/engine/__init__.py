"""The engine: a loaded model, its chats, caching options and inspection."""

from mlx_deepseek.engine.caching import Caching
from mlx_deepseek.engine.chat import Chat
from mlx_deepseek.engine.engine import Engine
from mlx_deepseek.engine.load import load
from mlx_deepseek.generation.results import Chunk, Completion, Usage

__all__ = ["Caching", "Chat", "Chunk", "Completion", "Engine", "Usage", "load"]
