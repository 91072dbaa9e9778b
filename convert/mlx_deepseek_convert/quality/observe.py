"""What a layer's linear modules are given while sequences pass it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx_lm.models.switch_layers import SwitchLinear

from mlx_deepseek_convert.quality.layerwise import at, through

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
    states: Sequence[mx.array], layer: nn.Module, paths: Collection[str]
) -> Mapping[str, Inputs]:
    """The inputs of the modules at `paths` while `states` [B, L, D] pass the layer.

    A module whose weight is used from its other side, as MLA's `embed_q` is, has none.
    """
    watched = {path: Watched(at(layer, path)) for path in paths}
    for path, module in watched.items():
        _replace(layer, path, module)
    try:
        through(layer, states)
    finally:
        for path, module in watched.items():
            _replace(layer, path, module.module)
    return {path: module.inputs() for path, module in watched.items() if module.seen}


@dataclass
class Seen:
    """One call's rows, and the experts they went to."""

    rows: mx.array
    experts: mx.array | None = field(default=None)


class Watched(nn.Module):
    """A linear module that keeps what it is given."""

    def __init__(self, module: Any):
        super().__init__()
        self.module = module
        self.seen: list[Seen] = []

    def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        """As the module itself."""
        if isinstance(self.module, SwitchLinear):
            experts = args[0]
            rows = mx.broadcast_to(x, (*experts.shape, 1, x.shape[-1]))
            self.seen.append(Seen(rows.reshape(-1, x.shape[-1]), experts.flatten()))
        elif kwargs.get("transpose", True):
            self.seen.append(Seen(x.reshape(-1, x.shape[-1])))
        return self.module(x, *args, **kwargs)

    def inputs(self) -> Inputs:
        """All calls' rows as one array."""
        rows = mx.concatenate([seen.rows for seen in self.seen])
        mx.eval(rows)
        experts = [np.array(seen.experts) for seen in self.seen if seen.experts is not None]
        return Inputs(rows, np.concatenate(experts) if experts else None)


def _replace(layer: nn.Module, path: str, module: nn.Module) -> None:
    *parents, name = path.split(".")
    parent = at(layer, ".".join(parents)) if parents else layer
    parent[name] = module
