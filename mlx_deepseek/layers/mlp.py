"""SwiGLU feed-forward (arXiv:2002.05202)."""

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.activations import swiglu


class MLP(nn.Module):
    """down(silu(gate(x)) * up(x)): the dense layers' MLP and the shared experts as one."""

    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def __call__(self, x: mx.array) -> mx.array:
        """Transform x [..., D]."""
        return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
