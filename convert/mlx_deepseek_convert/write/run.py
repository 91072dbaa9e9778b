"""Run a plan: from any state an earlier run left to a finished folder under its final name."""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_deepseek.checkpoint.conversion_cache import converter_version
from mlx_deepseek_convert.planning.chunks import FileLayout, lay_out
from mlx_deepseek_convert.planning.plan import Plan, plan, plan_release
from mlx_deepseek_convert.planning.recipes import Recipe
from mlx_deepseek_convert.source.checkpoint import Source, check_unchanged
from mlx_deepseek_convert.source.find import find_source
from mlx_deepseek_convert.write.disk import describe_failure
from mlx_deepseek_convert.write.metadata import tensor_names, write_metadata
from mlx_deepseek_convert.write.pipeline import read_ahead, run
from mlx_deepseek_convert.write.preflight import (
    check_memory,
    check_space,
    check_target,
    real_target,
)
from mlx_deepseek_convert.write.source_files import SourceFiles, open_source_files
from mlx_deepseek_convert.write.workspace import Workspace, opened, published
from mlx_deepseek_convert.write.writer import CheckpointWriter

Progress = Callable[[int, int], None]  # bytes written so far, bytes in total


@dataclass(frozen=True)
class Report:
    """What a conversion did; `bytes_resumed` of the result were done by earlier runs."""

    target: Path
    recipe: str
    tensors_in: int
    tensors_out: int
    parameters: int
    exact_parameters: int
    bytes_in: int
    bytes_out: int
    bytes_resumed: int
    bits_per_weight: float
    groups: dict[str, int]
    checksums: dict[str, str]
    seconds: float

    @property
    def read_per_second(self) -> float:
        """Source bytes per second of this run."""
        share = 1 - self.bytes_resumed / max(self.bytes_out, 1)
        return self.bytes_in * share / max(self.seconds, 1e-9)


def convert(
    source: str | Path | Source,
    target: str | Path,
    recipe: str | Recipe = "4bit",
    *,
    adapter: str | Path | None = None,
    revision: str | None = None,
    overwrite: bool = False,
    allow_nonfinite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Convert `source` (folder, hub id or "nano") to an MLX checkpoint in the folder `target`.

    `progress` is called with bytes written and bytes in total. The target appears when it is
    complete and checked; what an interrupted call has done, the next one goes on from. `overwrite`
    replaces an earlier conversion, never anything else. NaN and infinity in the source are errors
    unless `allow_nonfinite`.

    Raises:
        CheckpointError: as `plan`, or the target is in use, or the disk too small.
        ConfigError: as `plan`.
    """
    planned = plan(source, recipe, adapter=adapter, revision=revision)
    return execute(
        planned,
        Path(target),
        overwrite=overwrite,
        allow_nonfinite=allow_nonfinite,
        progress=progress,
    )


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


def execute(
    plan: Plan,
    target: Path,
    *,
    overwrite: bool = False,
    allow_nonfinite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Write a planned checkpoint to the folder `target`, going on where an earlier run stopped.

    Raises:
        CheckpointError: `target` is not ours, the disk or memory is too small, the source changed.
        InterruptedConversionError: the disk is full or the network lost; what is done is kept.
    """
    began = time.monotonic()
    target = real_target(target)
    layout = lay_out(plan)
    digest = plan_digest(plan, layout)
    finished = published(target, digest)
    if not finished:
        check_target(plan.source, target, overwrite)
        check_memory(plan, layout)
        check_space(plan, target)
    resumed = plan.bytes_out
    with opened(target, digest, overwrite=overwrite) as workspace:
        if not finished:
            resumed = _convert(plan, layout, workspace, progress, not allow_nonfinite)
            workspace.publish()
        checksums = dict(sorted(workspace.journal.files.items()))
    return Report(
        target=target,
        recipe=plan.recipe,
        tensors_in=plan.source.stored,
        tensors_out=sum(map(len, tensor_names(plan).values())),
        parameters=plan.parameters,
        exact_parameters=plan.exact_parameters,
        bytes_in=plan.bytes_in,
        bytes_out=plan.bytes_out,
        bytes_resumed=resumed,
        bits_per_weight=plan.bits_per_weight,
        groups=plan.groups(),
        checksums=checksums,
        seconds=time.monotonic() - began,
    )


def plan_digest(plan: Plan, layout: FileLayout) -> str:
    """Equal for two plans only if they give the same bytes."""
    kind = str(mx.default_device().type)
    parts = (converter_version(), version("mlx"), kind, plan.source.identity, plan.recipe)
    digest = hashlib.sha256("\0".join(parts).encode())
    digest.update(json.dumps(plan.config, sort_keys=True, default=str).encode())
    digest.update(f"\0{len(layout.chunks)}".encode())
    for name, header in layout.headers.items():
        digest.update(f"\0{name}\0".encode() + header)
    return digest.hexdigest()


def _convert(
    plan: Plan,
    layout: FileLayout,
    workspace: Workspace,
    progress: Progress | None,
    check_finite: bool,
) -> int:
    """Fill and check the workspace's result; how many of its bytes were done already."""
    try:
        workspace.prepare(layout)
        journal = workspace.journal
        todo = [(n, chunk) for n, chunk in enumerate(layout.chunks) if n not in journal.chunks]
        resumed = plan.bytes_out - sum(chunk.bytes_out for _, chunk in todo)

        def report(written: int) -> None:
            if progress is not None:
                progress(resumed + written, plan.bytes_out)

        report(0)  # from the hub, the first chunk may be minutes away
        files = open_source_files(plan.source, workspace.staging, [chunk for _, chunk in todo])
        _fill(layout, todo, workspace, files, report, check_finite)
        check_unchanged(plan.source)
        write_metadata(plan, workspace.result, journal.files)
    except OSError as error:
        raise describe_failure(workspace.folder, error) from error
    return resumed


def _fill(
    layout: FileLayout,
    todo: list[Any],
    workspace: Workspace,
    files: SourceFiles,
    report: Callable[[int], None],
    check_finite: bool,
) -> None:
    writer = CheckpointWriter(workspace.result, layout, workspace.journal, files.release)
    whole = False
    try:
        with closing(read_ahead(todo, files)) as chunks:
            run(chunks, writer, report, check_finite=check_finite)
        whole = True
    finally:
        writer.finish(whole=whole)
    report(writer.bytes_done)


def as_json(report: Report) -> dict:
    """A report as plain data."""
    speed = {"bytes_read_per_second": round(report.read_per_second)}
    return {**asdict(report), **speed, "target": str(report.target)}
