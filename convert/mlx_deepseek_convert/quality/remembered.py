"""Measured costs of a checkpoint's classes, kept for other budgets and resumed runs."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

from mlx_deepseek.converted import cache_folder, converter_version
from mlx_deepseek_convert.quality.classes import TensorClass
from mlx_deepseek_convert.quality.layerwise import Progress
from mlx_deepseek_convert.quality.report import Wanted, sequences
from mlx_deepseek_convert.quality.sensitivity import Costs, measure
from mlx_deepseek_convert.source import Source

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
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(rows), encoding="utf-8")
    beside.replace(path)
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
