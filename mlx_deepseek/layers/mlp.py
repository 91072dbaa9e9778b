"""SwiGLU feed-forward (arXiv:2002.05202), with bounded activations in DeepSeek-V4."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.activations import swiglu


class MLP(nn.Module):
    """down(silu(gate(x)) * up(x)): the dense layers' MLP and the shared experts as one."""

    def __init__(self, hidden: int, width: int, limit: float | None = None):
        super().__init__()
        self.limit = limit
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def __call__(self, x: mx.array, step: Any = None) -> mx.array:
        """Transform x [..., D]; which tokens it is of says nothing."""
        gate, up = self.gate_proj(x), self.up_proj(x)  # [..., F]
        return self.down_proj(activated(gate, up, self.limit))


def activated(gate: mx.array, up: mx.array, limit: float | None) -> mx.array:
    """silu(gate) * up; with a `limit`, of gate at most that, and of up no further from 0."""
    return swiglu(gate, up) if limit is None else bounded_swiglu(gate, up, limit)


@mx.compile
def bounded_swiglu(gate: mx.array, up: mx.array, limit: float) -> mx.array:
    """As `activated`, in one kernel."""
    return nn.silu(mx.minimum(gate, limit)) * mx.clip(up, -limit, limit)
