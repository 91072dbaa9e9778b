"""Run a plan: from any state an earlier run left to a finished folder under its final name."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_deepseek.converted import converter_version
from mlx_deepseek_convert.checks import check_memory, check_space, check_target
from mlx_deepseek_convert.companions import tensor_names, write_companions
from mlx_deepseek_convert.files import describe_failure
from mlx_deepseek_convert.pieces import Layout, lay_out
from mlx_deepseek_convert.pipeline import Reader, run
from mlx_deepseek_convert.planner import Plan
from mlx_deepseek_convert.sealing import Sealer
from mlx_deepseek_convert.source import check_unchanged
from mlx_deepseek_convert.supply import Supply, supply_for
from mlx_deepseek_convert.workspace import Workspace, opened, published
from mlx_deepseek_convert.writer import Committer, Writer

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


def execute(
    plan: Plan, target: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> Report:
    """Write a planned checkpoint to the folder `target`, going on where an earlier run stopped.

    Raises:
        CheckpointError: `target` is not ours, the disk or memory is too small, the source changed.
        InterruptedConversionError: the disk is full or the network lost; what is done is kept.
    """
    began = time.monotonic()
    target = target.absolute()
    layout = lay_out(plan)
    digest = plan_digest(plan, layout)
    finished = published(target, digest)
    if not finished:
        check_target(plan, target, overwrite)
        check_memory(plan, layout)
        check_space(plan, target)
    resumed = plan.bytes_out
    with opened(target, digest, overwrite=overwrite) as workspace:
        if not finished:
            resumed = _convert(plan, layout, workspace, progress)
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


def plan_digest(plan: Plan, layout: Layout) -> str:
    """Equal for two plans only if they give the same bytes."""
    kind = str(mx.default_device().type)
    parts = (converter_version(), version("mlx"), kind, plan.source.identity, plan.recipe)
    digest = hashlib.sha256("\0".join(parts).encode())
    digest.update(json.dumps(plan.config, sort_keys=True, default=str).encode())
    digest.update(f"\0{len(layout.pieces)}".encode())
    for name, header in layout.headers.items():
        digest.update(f"\0{name}\0".encode() + header)
    return digest.hexdigest()


def _convert(plan: Plan, layout: Layout, workspace: Workspace, progress: Progress | None) -> int:
    """Fill and check the workspace's result; how many of its bytes were done already."""
    try:
        workspace.prepare(layout)
        journal = workspace.journal
        todo = [(n, piece) for n, piece in enumerate(layout.pieces) if n not in journal.pieces]
        resumed = plan.bytes_out - sum(piece.bytes_out for _, piece in todo)

        def report(written: int) -> None:
            if progress is not None:
                progress(resumed + written, plan.bytes_out)

        report(0)  # from the hub, the first piece may be minutes away
        supply = supply_for(plan.source, workspace.staging, [piece for _, piece in todo])
        _fill(layout, todo, workspace, supply, report)
        check_unchanged(plan.source)
        write_companions(plan, workspace.result, journal.files)
    except OSError as error:
        raise describe_failure(workspace.folder, error) from error
    return resumed


def _fill(
    layout: Layout,
    todo: list[Any],
    workspace: Workspace,
    supply: Supply,
    report: Callable[[int], None],
) -> None:
    sealer = Sealer(workspace.result, layout, workspace.journal)
    sealer.start()

    def committed(pieces: list[int]) -> None:
        sealer.written(pieces)
        supply.release([layout.pieces[number] for number in pieces])

    try:
        reader = Reader(todo, supply)
        committer = Committer(workspace.result, workspace.journal, committed)
        run(reader, Writer(workspace.result, committer), report)
    except BaseException:
        sealer.abandon()
        raise
    finally:
        sealer.finish()


def as_json(report: Report) -> dict:
    """A report as plain data."""
    speed = {"bytes_read_per_second": round(report.read_per_second)}
    return {**asdict(report), **speed, "target": str(report.target)}
