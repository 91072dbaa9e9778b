"""Residual connections: how a sublayer is fed and its output goes on (arXiv:1512.03385)."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn

Sublayer = Callable[[mx.array], mx.array]  # of [B, L, D]


class Residual(nn.Module):
    """x + f(x)."""

    def __call__(self, x: Any, sublayer: Sublayer) -> Any:
        """The state after a sublayer."""
        return x + sublayer(x)


class Ends(nn.Module):
    """What the state is before the first layer, and what is left of it after the last."""

    def begin(self, x: mx.array) -> Any:
        """The state that embeddings [B, L, D] become."""
        return x

    def __call__(self, state: Any) -> mx.array:
        """The hidden states [B, L, D] of the state after the last layer."""
        return state
