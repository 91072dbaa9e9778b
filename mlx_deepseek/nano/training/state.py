"""A training run on the disk: parameters, optimizer, and the run's own numbers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from mlx_deepseek.errors import CheckpointError

STATE, PROGRESS = "training.safetensors", "training.json"


def save(folder: Path, model: nn.Module, optimizer: Any, progress: Mapping[str, Any]) -> None:
    """Write what `resume` needs, in place of what was there."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"model.{k}": v for k, v in named(model.parameters()).items()}
    state |= {f"optimizer.{k}": v for k, v in named(optimizer.state).items()}
    part = folder / f"part.{STATE}"
    mx.save_safetensors(str(part), state)
    part.replace(folder / STATE)
    (folder / PROGRESS).write_text(json.dumps(progress, indent=2) + "\n")


def resume(folder: Path, model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Put the saved state into a model and its optimizer; returns the run's numbers.

    Raises:
        CheckpointError: there is none.
    """
    if not (folder / STATE).exists():
        raise CheckpointError(
            f"{folder} holds no training run to resume: {STATE} is missing. "
            "Start one without --resume."
        )
    saved: Any = mx.load(str(folder / STATE))
    model.load_weights(list(_under("model.", saved).items()))
    optimizer.state = tree_unflatten(list(_under("optimizer.", saved).items()))
    return json.loads((folder / PROGRESS).read_text())


def named(tree: Any) -> dict[str, mx.array]:
    """The arrays of a tree by their dotted names."""
    return dict(tree_flatten(tree))  # type: ignore[arg-type]


def _under(prefix: str, state: Mapping[str, mx.array]) -> dict[str, mx.array]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
