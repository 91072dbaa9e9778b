"""Prompt caches by content: any prompt that begins like an earlier one starts from its latents."""

from mlx_deepseek.prefix_cache.blocks import BLOCK
from mlx_deepseek.prefix_cache.store import PrefixCache

__all__ = ["BLOCK", "PrefixCache"]
