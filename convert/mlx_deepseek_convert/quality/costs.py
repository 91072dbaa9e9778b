"""Measured costs of a checkpoint's classes, kept for other budgets and resumed runs."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from mlx_deepseek.checkpoint.conversion_cache import cache_folder, converter_version
from mlx_deepseek.runtime.whole_file import write_text_whole
from mlx_deepseek_convert.quality.layerwise import Progress
from mlx_deepseek_convert.quality.report import Wanted, sequences
from mlx_deepseek_convert.quality.sensitivity import BITS, Costs, measure
from mlx_deepseek_convert.quality.tensor_classes import DENSE, ROUTED, TensorClass
from mlx_deepseek_convert.source.checkpoint import Source

ENOUGH_TOKENS = 1024  # of a text: each runs through every variant


def measured_once(source: Source, wanted: Wanted, progress: Progress) -> Costs:
    """The costs of a source's classes on `wanted`, from an earlier measurement if there is one.

    Raises:
        CheckpointError, ConfigError: as measuring.
    """
    path = cache_folder() / f"sensitivity-{_key(source, wanted)}.json"
    if path.is_file():
        return _parse(path)
    wanted = replace(wanted, tokens=wanted.tokens or ENOUGH_TOKENS)
    costs = measure(source.folder, sequences(source.folder, wanted, held_out=False), progress)
    rows = [[member.kind, member.layer, found] for member, found in costs.items()]
    write_text_whole(path, json.dumps(rows))
    return costs


def _key(source: Source, wanted: Wanted) -> str:
    text = wanted.text.read_bytes() if wanted.text and wanted.text.is_file() else b""
    about = (wanted.tokens, wanted.length, wanted.count, source.identity, converter_version())
    return hashlib.sha256(repr(about).encode() + text).hexdigest()[:16]


def _parse(path: Path) -> Costs:
    return {
        TensorClass(kind, layer): {int(bits): cost for bits, cost in found.items()}
        for kind, layer, found in json.loads(path.read_text(encoding="utf-8"))
    }


def nano_costs(classes: Iterable[TensorClass]) -> Costs:
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
