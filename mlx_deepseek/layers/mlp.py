"""SwiGLU feed-forward (arXiv:2002.05202)."""

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.activations import swiglu

from mlx_deepseek.layers.joined import Joined, join, project


class MLP(nn.Module):
    """down(silu(gate(x)) * up(x)): the dense layers' MLP and the shared experts as one."""

    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)
        self._joined: Joined | None = None

    def __call__(self, x: mx.array) -> mx.array:
        """Transform x [..., D]."""
        gate, up = project(self._joined, (self.gate_proj, self.up_proj), x)
        return self.down_proj(swiglu(gate, up))

    def join(self) -> None:
        """Compute gate and up as one product from now on."""
        self._joined = join(self.gate_proj, self.up_proj)
