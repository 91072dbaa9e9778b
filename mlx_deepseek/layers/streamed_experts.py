"""Routed experts of which some are in memory and all on disk (arXiv:2312.11514 §3).

The weight arrays are slots for a part of the experts: the same products as ever take slot numbers
in place of expert numbers, so the results are the same numbers.
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.switch_layers import QuantizedSwitchLinear

from mlx_deepseek.layers.expert_slots import ExpertSlots, Traffic
from mlx_deepseek.layers.experts import SORT_FROM_PAIRS, Experts

# From so many rows per expert on, MLX's Metal kernel for quantized rows in order takes over.
ROWS_PER_EXPERT = 4


class StreamedExperts(Experts):
    """`Experts` whose projections hold slots."""

    def __init__(self, experts: Experts, slots: ExpertSlots):
        nn.Module.__init__(self)
        self.limit, self.slots = experts.limit, slots
        self.gate_proj, self.up_proj = experts.gate_proj, experts.up_proj
        self.down_proj = experts.down_proj

    def __call__(self, x: mx.array, chosen: mx.array) -> mx.array:
        """Each token's outputs [..., K, D] for x [..., D] and expert numbers `chosen` [..., K].

        Raises:
            CheckpointError: an expert cannot be read.
        """
        pairs = np.array(chosen).reshape(-1)  # the layer's one wait for the device
        rows = x.reshape(-1, 1, x.shape[-1])  # [tokens, 1, D]
        outputs, places = [], []
        for group in self.slots.groups(*np.unique(pairs, return_counts=True)):
            place = np.flatnonzero(np.isin(pairs, group))
            slot = self.slots.of(group)[np.searchsorted(group, pairs[place])]
            order = np.argsort(slot, kind="stable")
            place = place[order]
            output = self.compute(rows, place // chosen.shape[-1], slot[order], pairs.size)
            self.slots.use(output)
            outputs.append(output)
            places.append(place)
        out = mx.concatenate(outputs) if len(outputs) > 1 else outputs[0]  # [pairs, D]
        return out[mx.array(np.argsort(np.concatenate(places)))].reshape(*chosen.shape, -1)

    def compute(
        self, rows: mx.array, tokens: np.ndarray, slots: np.ndarray, pairs: int
    ) -> mx.array:
        """Outputs [n, D] of `tokens`' rows through the experts in `slots`, which ascend.

        By the kernel that takes all `pairs` where all experts are in memory: another one would
        round differently.
        """
        n, in_order = len(slots), pairs >= SORT_FROM_PAIRS
        if in_order and isinstance(self.gate_proj, QuantizedSwitchLinear):
            in_order = pairs // self.slots.count >= ROWS_PER_EXPERT
            least = ROWS_PER_EXPERT * self.slots.capacity if in_order else 0
            more = (0, max(least - n, 0))  # rows that nobody asked for
            tokens, slots = np.pad(tokens, more, "edge"), np.pad(slots, more, "edge")
        taken = rows[mx.array(tokens)]  # [n, 1, D]
        return self.transform(taken, mx.array(slots), in_order=in_order).squeeze(-2)[:n]


def traffic(model: nn.Module) -> Traffic | None:
    """What a model's streamed layers have done so far; None without such layers."""
    streamed = (module for module in model.modules() if isinstance(module, StreamedExperts))
    first = next(streamed, None)
    return None if first is None else first.slots.traffic
