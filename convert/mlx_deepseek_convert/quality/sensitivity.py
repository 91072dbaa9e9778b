"""What quantizing one class of tensors costs: the KL divergence when all else stays exact."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_deepseek.checkpoint import load_source
from mlx_deepseek_convert.quality.classes import DENSE, MTP, ROUTED, TensorClass, class_of
from mlx_deepseek_convert.quality.layerwise import Progress, silent
from mlx_deepseek_convert.quality.rounding import Grid, round_plainly
from mlx_deepseek_convert.quality.score import scored_rows, summarise, tally
from mlx_deepseek_convert.quality.texts import Batch
from mlx_deepseek_convert.recipes import Setting, fit

BITS = (2, 3, 4, 5, 6, 8)

Costs = Mapping[TensorClass, Mapping[int, float]]  # nats per token at each number of bits


def measure(folder: Path, batches: Sequence[Batch], progress: Progress = silent) -> Costs:
    """The cost of each class of the checkpoint in `folder`, which has to fit into memory twice.

    Raises:
        CheckpointError, ConfigError: as loading the checkpoint would.
    """
    model, _ = load_source(folder, mx.float32)
    truth = [list(scored_rows(batch, model(batch.ids))) for batch in batches]
    members = modules_by_class(model)
    costs: dict[TensorClass, dict[int, float]] = {}
    for done, (member, modules) in enumerate(members.items()):
        originals = [module.weight for module in modules]
        costs[member] = {}
        for bits in BITS:
            for module, weight in zip(modules, originals, strict=True):
                module.weight = rounded(weight, bits)
            costs[member][bits] = _divergence(model, batches, truth)
        for module, weight in zip(modules, originals, strict=True):
            module.weight = weight
        progress(done + 1, len(members))
    return costs


def modules_by_class(model: nn.Module) -> Mapping[TensorClass, list[Any]]:
    """The modules of each class that a loss can depend on."""
    found: dict[TensorClass, list[Any]] = defaultdict(list)
    for path, module in model.named_modules():
        member = class_of(path) if hasattr(module, "to_quantized") else None
        if member is not None and member != MTP:
            found[member].append(module)
    return found


def rounded(weight: mx.array, bits: int) -> mx.array:
    """The weight as `bits` would store it; as it is where no group size divides its rows."""
    setting = fit(Setting(bits), weight.shape)
    if setting is None:
        return weight
    values = round_plainly(weight, Grid(bits, setting.group_size)).values()
    mx.eval(values)
    return values


def shipped(classes: Iterable[TensorClass]) -> Costs:
    """Costs for a model too large to measure: nano's, spread over this model's layers.

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


def _divergence(
    model: Any, batches: Sequence[Batch], truth: Sequence[list[tuple[mx.array, ...]]]
) -> float:
    sums = []
    for batch, expected in zip(batches, truth, strict=True):
        found = scored_rows(batch, model(batch.ids))
        for (ours, tokens), (theirs, _) in zip(expected, found, strict=True):
            sums.append(tally(ours, theirs, tokens))
    return summarise(sums).kl
