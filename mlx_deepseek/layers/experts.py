"""Routed experts with one weight tensor per projection (arXiv:2401.06066 §3.1)."""

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.switch_layers import SwitchLinear

from mlx_deepseek.layers.mlp import activated

# From this many (token, expert) pairs on, sorting costs less than scattered weight reads.
SORT_FROM_PAIRS = 64


class Experts(nn.Module):
    """E SwiGLU MLPs evaluated for the chosen ones alone; names and layout are mlx-lm's."""

    def __init__(self, hidden: int, width: int, experts: int, limit: float | None = None):
        super().__init__()
        self.limit = limit
        self.gate_proj = SwitchLinear(hidden, width, experts, bias=False)
        self.up_proj = SwitchLinear(hidden, width, experts, bias=False)
        self.down_proj = SwitchLinear(width, hidden, experts, bias=False)

    @property
    def in_memory(self) -> int:
        """Experts whose weights are in memory."""
        return self.gate_proj.num_experts

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
        gate = self.gate_proj(rows, experts, sorted_indices=in_order)
        up = self.up_proj(rows, experts, sorted_indices=in_order)
        return self.down_proj(activated(gate, up, self.limit), experts, sorted_indices=in_order)
