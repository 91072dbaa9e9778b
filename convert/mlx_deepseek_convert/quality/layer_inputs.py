"""What a layer's linear modules are given while sequences pass it."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.switch_layers import SwitchLinear

from mlx_deepseek.runtime.hooks import hooked
from mlx_deepseek_convert.quality.layerwise import get_submodule
from mlx_deepseek_convert.quality.states import State, run_layer

# An expert's own inputs count as much as this many of an average one's; below, the latter decide.
PRIOR_ROWS = 32


@dataclass(frozen=True)
class Inputs:
    """Rows [n, I] given to a module; `experts` [n] says to which expert each went, if to one."""

    rows: mx.array
    experts: np.ndarray | None = None

    def moments(self, experts: range | None = None) -> mx.array:
        """Mean second moments [I, I]; with `experts`, theirs [E, I, I].

        Those of an expert that few rows chose lean towards the mean over all, and correlations
        lean towards none where there are few rows for so many columns.
        """
        pooled = second_moments(self.rows) / len(self.rows)
        if experts is None:
            return _cautious(pooled, len(self.rows))
        own = []
        for expert in experts:
            chosen = np.flatnonzero(self.experts == expert)
            rows = self.rows[mx.array(chosen)] if len(chosen) else self.rows[:0]
            total = second_moments(rows) + PRIOR_ROWS * pooled
            count = len(chosen) + PRIOR_ROWS
            own.append(_cautious(total / count, count))
        return mx.stack(own)


def second_moments(rows: mx.array) -> mx.array:
    """Sum over rows [n, I] of their outer products, [I, I]."""
    rows = rows.astype(mx.float32)
    return rows.T @ rows


def _cautious(moments: mx.array, rows: int) -> mx.array:
    """`moments` with correlations as strong as `rows` can show among so many columns."""
    trust = rows / (rows + moments.shape[-1])
    return trust * moments + (1 - trust) * mx.diag(mx.diagonal(moments))


def observe(
    states: Sequence[State], layer: nn.Module, paths: Collection[str]
) -> Mapping[str, Inputs]:
    """The inputs of the modules at `paths` while `states` pass the layer.

    A module whose weight is used from its other side, as MLA's `embed_q` is, has none.
    """
    found: dict[str, list[Inputs]] = {path: [] for path in paths}
    with ExitStack() as hooks:
        for path, calls in found.items():
            module = get_submodule(layer, path)
            hooks.enter_context(hooked(module, partial(_note, module, calls)))
        run_layer(layer, states)
    return {path: _joined(calls) for path, calls in found.items() if calls}


def _note(module: Any, calls: list[Inputs], _: mx.array, x: mx.array, *args: Any, **kwargs: Any):
    """Add a call's inputs, one row for each expert that a token goes to."""
    if isinstance(module, SwitchLinear):
        experts = args[0]
        x = mx.broadcast_to(x, (*experts.shape, 1, x.shape[-1]))
        calls.append(Inputs(x.reshape(-1, x.shape[-1]), np.array(experts.flatten())))
    elif kwargs.get("transpose", True):
        calls.append(Inputs(x.reshape(-1, x.shape[-1])))


def _joined(calls: Sequence[Inputs]) -> Inputs:
    """All calls' rows as one array."""
    rows = mx.concatenate([call.rows for call in calls])
    mx.eval(rows)
    experts = [call.experts for call in calls if call.experts is not None]
    return Inputs(rows, np.concatenate(experts) if experts else None)
