"""Routed experts with one weight tensor per projection (arXiv:2401.06066 §3.1)."""

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.activations import swiglu
from mlx_lm.models.switch_layers import SwitchLinear

from mlx_deepseek.layers.joined import Joined, join, project

# From this many (token, expert) pairs on, sorting costs less than scattered weight reads.
SORT_FROM_PAIRS = 64


class Experts(nn.Module):
    """E SwiGLU MLPs evaluated for the chosen ones alone; names and layout are mlx-lm's."""

    def __init__(self, hidden: int, width: int, experts: int):
        super().__init__()
        self.gate_proj = SwitchLinear(hidden, width, experts, bias=False)
        self.up_proj = SwitchLinear(hidden, width, experts, bias=False)
        self.down_proj = SwitchLinear(width, hidden, experts, bias=False)
        self._joined: Joined | None = None

    def __call__(self, x: mx.array, chosen: mx.array) -> mx.array:
        """Each token's outputs [..., K, D] for x [..., D] and expert numbers `chosen` [..., K]."""
        if chosen.size < SORT_FROM_PAIRS:
            rows = x[..., None, None, :]  # [..., 1, 1, D]
            return self.transform(rows, chosen, in_order=False).squeeze(-2)

        pairs = chosen.flatten()
        order = mx.argsort(pairs)
        rows = x.reshape(-1, 1, x.shape[-1])[order // chosen.shape[-1]]  # [pairs, 1, D]
        out = self.transform(rows, pairs[order], in_order=True)
        return out.squeeze(-2)[mx.argsort(order)].reshape(*chosen.shape, -1)

    def transform(self, rows: mx.array, experts: mx.array, *, in_order: bool) -> mx.array:
        """Send each row through its expert; `in_order`: `experts` is sorted."""
        modules = self.gate_proj, self.up_proj
        gate, up = project(self._joined, modules, rows, experts, sorted_indices=in_order)
        return self.down_proj(swiglu(gate, up), experts, sorted_indices=in_order)

    def join(self) -> None:
        """Compute gate and up as one product from now on."""
        self._joined = join(self.gate_proj, self.up_proj)
