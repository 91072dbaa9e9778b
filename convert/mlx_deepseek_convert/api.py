"""Plan, convert, read: what the package offers to programs."""

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx

from mlx_deepseek_convert.adapters import merge_adapter
from mlx_deepseek_convert.detect import find_source, is_source, locate
from mlx_deepseek_convert.planner import Plan, make_plan, plan_release
from mlx_deepseek_convert.source import open_source
from mlx_deepseek_convert.steps import make_steps
from mlx_deepseek_convert.write import Progress, Report, execute

__all__ = ["Plan", "Report", "convert", "export", "is_source", "plan", "weights"]


def plan(
    source: str | Path,
    recipe: str = "4bit",
    *,
    adapter: str | Path | None = None,
    revision: str | None = None,
) -> Plan:
    """What converting `source` (folder, hub id or "nano") would do; reads headers only.

    `adapter` is a folder with a LoRA adapter to be added, `revision` a branch, tag or commit.

    Raises:
        CheckpointError: files or tensors are missing, damaged, unknown or of the wrong shape.
        ConfigError: unknown architecture, configuration or recipe.
    """
    found = find_source(source, revision)
    return make_plan(found if adapter is None else merge_adapter(found, Path(adapter)), recipe)


def convert(
    source: str | Path,
    target: str | Path,
    recipe: str = "4bit",
    *,
    adapter: str | Path | None = None,
    revision: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Convert `source` (folder, hub id or "nano") to an MLX checkpoint in the folder `target`.

    `progress` is called with bytes written and bytes in total. The target appears when it is
    complete and checked; what an interrupted call has done, the next one goes on from. `overwrite`
    replaces an earlier conversion, never anything else.

    Raises:
        CheckpointError: as `plan`, or the target is in use, or the disk too small.
        ConfigError: as `plan`.
    """
    planned = plan(source, recipe, adapter=adapter, revision=revision)
    return execute(planned, Path(target), overwrite=overwrite, progress=progress)


def export(
    source: str | Path,
    target: str | Path,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Write an MLX checkpoint in a release's names and shapes, in bfloat16, to the folder `target`.

    Of an unquantized one every tensor is byte for byte the release's.

    Raises:
        CheckpointError: no MLX checkpoint, or as `convert`.
        ConfigError: as `plan`.
    """
    planned = plan_release(find_source(source))
    return execute(planned, Path(target), overwrite=overwrite, progress=progress)


def weights(source: str | Path, dtype: mx.Dtype | str) -> Iterator[tuple[str, mx.array]]:
    """Every parameter under its MLX name, unquantized, in `dtype`; FP8 multiplied in float32.

    Raises:
        CheckpointError: as `plan`.
        ConfigError: unknown architecture or configuration.
    """
    kind: mx.Dtype = getattr(mx, dtype) if isinstance(dtype, str) else dtype
    steps, _ = make_steps(open_source(locate(source)))
    for step in steps:
        for (name, _), value in zip(step.targets, step.values(), strict=True):
            yield name, value.astype(kind)
