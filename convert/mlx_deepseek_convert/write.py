"""Run a plan: one source tensor in memory at a time, nothing half-written under the final name."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import mlx.core as mx

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.tensor_file import build_header
from mlx_deepseek_convert.card import model_card, origin
from mlx_deepseek_convert.outputs import Output, to_bytes
from mlx_deepseek_convert.planner import MTP_FILE, Job, Plan
from mlx_deepseek_convert.source import INDEX

Progress = Callable[[int, int], None]  # bytes written so far, bytes in total

# Marks a folder as this program's, so that it may be replaced; says where the weights come from.
RECORD = "conversion.json"
LOCK = ".lock"

# What a user of the checkpoint needs beside weights; never code.
COMPANIONS = (
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "generation_config.json",
    "chat_template*",
    "LICENSE*",
)


@dataclass(frozen=True)
class Report:
    """What a conversion did."""

    target: Path
    recipe: str
    tensors_in: int
    tensors_out: int
    parameters: int
    bytes_in: int
    bytes_out: int
    bits_per_weight: float
    groups: dict[str, int]
    seconds: float


def execute(
    plan: Plan, target: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> Report:
    """Write a planned checkpoint to the folder `target`.

    Raises:
        CheckpointError: `target` is not ours, the disk is too small, or the source changed.
    """
    began = time.monotonic()
    target = target.absolute()
    check_target(plan, target, overwrite)
    with _partial(target) as folder:
        total, done = plan.bytes_out, 0
        for name, jobs in plan.files.items():
            for written in write_file(folder / name, jobs):
                done += written
                if progress is not None:
                    progress(done, total)
        tensors_out = _write_companions(plan, folder)
        _publish(folder, target)
    return Report(
        target=target,
        recipe=plan.recipe,
        tensors_in=plan.source.stored,
        tensors_out=tensors_out,
        parameters=plan.parameters,
        bytes_in=plan.bytes_in,
        bytes_out=plan.bytes_out,
        bits_per_weight=plan.bits_per_weight,
        groups=plan.groups(),
        seconds=time.monotonic() - began,
    )


def check_target(plan: Plan, target: Path, overwrite: bool) -> None:
    """Refuse a target that would be damaged, or a disk that cannot hold it, before the first byte.

    Raises:
        CheckpointError: says which.
    """
    source = plan.source.folder.absolute().resolve()
    if target.resolve() == source or source in target.resolve().parents:
        raise CheckpointError(f"{target}: lies in the source's folder. Choose another target.")
    if target.exists() and not target.is_dir():
        raise CheckpointError(f"{target}: is a file. Choose a folder as target.")
    if target.is_dir() and any(target.iterdir()):
        if not (target / RECORD).is_file():
            raise CheckpointError(
                f"{target}: is not empty and not a converted checkpoint. Choose another target."
            )
        if not overwrite:
            raise CheckpointError(
                f"{target}: exists already. Choose another target, or ask to overwrite it."
            )
    place = next(parent for parent in target.parents if parent.exists())
    free = shutil.disk_usage(place).free
    if free < plan.bytes_out:
        raise CheckpointError(
            f"{place}: {free / 1e9:.1f} GB free, the result takes {plan.bytes_out / 1e9:.1f} GB. "
            "Free space, choose another disk or a recipe with fewer bits."
        )


def write_file(path: Path, jobs: tuple[Job, ...]) -> Iterator[int]:
    """Write one weight file; yields the number of bytes after each piece."""
    tensors = [tensor for job in jobs for output in job.outputs for tensor in output.tensors()]
    entries = {name: (dtype, shape) for name, dtype, shape in tensors}
    header, starts = build_header(entries, {"format": "mlx"})
    with path.open("wb") as file:
        file.write(header)
        for job in jobs:
            yield from _run(job, file, starts)
        file.flush()
        os.fsync(file.fileno())


def _run(job: Job, file: BinaryIO, starts: dict[str, int]) -> Iterator[int]:
    position = dict(starts)
    for which, value in job.step.op.slices([tensor.read for tensor in job.step.sources]):
        output = job.outputs[which]
        written = 0
        for (name, _, _), stored in zip(output.tensors(), output.store(value), strict=True):
            data = to_bytes(stored)
            file.seek(position[name])
            file.write(data)
            position[name] += len(data)
            written += len(data)
        yield written
    mx.clear_cache()  # freed buffers of other sizes would pile up
    for output in job.outputs:
        _check_written(output, position, starts)


def _check_written(output: Output, position: dict[str, int], starts: dict[str, int]) -> None:
    written = sum(position[name] - starts[name] for name, _, _ in output.tensors())
    if written != output.nbytes:
        raise CheckpointError(
            f"{output.name}: wrote {written} bytes where the plan has {output.nbytes}. The source "
            "changed while it was read; convert again."
        )


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """The folder `<target>.partial`, locked, emptied, and removed again if anything fails."""
    folder = target.with_name(target.name + ".partial")
    folder.mkdir(parents=True, exist_ok=True)
    strangers = [path.name for path in folder.iterdir()]
    if strangers and LOCK not in strangers:
        raise CheckpointError(f"{folder}: is in the way and not ours. Remove or rename it.")
    with (folder / LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CheckpointError(
                f"{folder}: another conversion is writing here. Wait until it has finished."
            ) from error
        for name in strangers:
            if name != LOCK:
                (folder / name).unlink()
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _write_companions(plan: Plan, folder: Path) -> int:
    """Everything beside the weights; returns the number of tensors written."""
    for pattern in COMPANIONS:
        for path in sorted(plan.source.folder.glob(pattern)):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
    tables = {
        name: [tensor[0] for job in jobs for output in job.outputs for tensor in output.tensors()]
        for name, jobs in plan.files.items()
    }
    weight_map = {
        tensor: name for name, tensors in tables.items() if name != MTP_FILE for tensor in tensors
    }
    total = sum(job.nbytes for name, jobs in plan.files.items() if name != MTP_FILE for job in jobs)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    record = {
        "converter": "mlx-deepseek",
        "source": origin(plan.source.folder),
        "recipe": plan.recipe,
        "parameters": plan.parameters,
        "bits_per_weight": round(plan.bits_per_weight, 3),
        "groups": plan.groups(),
        "files": {name: len(tensors) for name, tensors in tables.items()},
    }
    _write_json(folder / INDEX, index)
    _write_json(folder / "config.json", dict(sorted(plan.config.items())))
    _write_json(folder / RECORD, record)
    (folder / "README.md").write_text(model_card(plan), encoding="utf-8")
    return sum(map(len, tables.values()))


def _publish(folder: Path, target: Path) -> None:
    """Give a finished folder its final name, in place of an earlier conversion if there is one."""
    (folder / LOCK).unlink()
    _sync(folder)
    old = target.with_name(target.name + ".replaced")
    if target.exists():
        os.rename(target, old)
    os.rename(folder, target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def as_json(report: Report) -> dict:
    """A report as plain data."""
    return {**asdict(report), "target": str(report.target)}
