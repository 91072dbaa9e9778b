"""Costs for a model that cannot be measured: nano's, which come with the package."""

import json
from collections import defaultdict
from collections.abc import Iterable
from importlib.resources import files

import numpy as np

from mlx_deepseek_convert.quality.classes import DENSE, ROUTED, TensorClass
from mlx_deepseek_convert.quality.sensitivity import BITS, Costs


def shipped(classes: Iterable[TensorClass]) -> Costs:
    """Nano's costs, spread over another model's layers.

    Feed-forward layers take nano's costs at the same relative depth, scaled so that all of them
    together cost what nano's do. Models without routed experts take those for their dense layers.
    """
    text = (files("mlx_deepseek_convert.quality") / "sensitivity.json").read_text(encoding="utf-8")
    table = json.loads(text)["costs"]
    members = list(classes)
    routed = any(member.kind == ROUTED for member in members)
    costs = {}
    for member in members:
        kind = ROUTED if member.kind == DENSE and not routed else member.kind
        rows = table[kind]
        peers = sorted(m.layer or 0 for m in members if m.kind == member.kind)
        depth = peers.index(member.layer or 0) / max(1, len(peers) - 1)
        share = len(rows) / len(peers)
        places = np.linspace(0.0, 1.0, len(rows))
        costs[member] = {
            bits: share * float(np.interp(depth, places, [row[str(bits)] for row in rows]))
            for bits in BITS
        }
    return costs


def as_table(costs: Costs) -> dict[str, list[dict[str, float]]]:
    """Costs as plain data: per kind a row for each layer, one row for kinds without layers."""
    table: dict[str, list[dict[str, float]]] = defaultdict(list)
    for member in sorted(costs, key=lambda member: (member.kind, member.layer or 0)):
        table[member.kind].append({str(b): float(f"{c:.3g}") for b, c in costs[member].items()})
    return dict(table)
