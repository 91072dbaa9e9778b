"""What is refused before the first byte: a target in use, too small a disk, too little memory."""

import math
import os
import shutil
from pathlib import Path

from mlx_deepseek.checkpoint.repository import RECORD
from mlx_deepseek.errors import CheckpointError, MemoryLimitError
from mlx_deepseek.runtime import memory
from mlx_deepseek.runtime.units import in_words
from mlx_deepseek_convert.planning.chunks import FileLayout, TensorChunk, lay_out
from mlx_deepseek_convert.planning.plan import Plan
from mlx_deepseek_convert.source.checkpoint import Source
from mlx_deepseek_convert.write.pipeline import AHEAD, CPU_STREAMS
from mlx_deepseek_convert.write.source_files import SHARDS_AHEAD
from mlx_deepseek_convert.write.workspace import folder_for
from mlx_deepseek_convert.write.writer import WAITING


def real_target(target: Path) -> Path:
    """Where a target is: that which a link points to, there or not yet there.

    Raises:
        CheckpointError: a link that leads round in a circle.
    """
    target = target.expanduser().absolute()
    try:
        return target.resolve() if target.is_symlink() else target
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{target}: is a link that leads nowhere ({error}).") from error


def check_target(source: Source, target: Path, overwrite: bool) -> None:
    """Refuse a target that would be damaged.

    Raises:
        CheckpointError: says which.
    """
    folder, target = source.folder.absolute().resolve(), real_target(target)
    if target.resolve() == folder or folder in target.resolve().parents:
        raise CheckpointError(f"{target}: lies in the source's folder. Choose another target.")
    inside = next((parent for parent in target.parents if os.path.lexists(parent)), target)
    for path in (target, inside):
        if os.path.lexists(path) and not path.is_dir():
            what = "a file" if path.is_file() else "no folder"
            raise CheckpointError(f"{path}: is {what}. Choose a folder as target.")
    if target.is_dir() and any(target.iterdir()):
        if not (target / RECORD).is_file():
            raise CheckpointError(
                f"{target}: is not empty and not a converted checkpoint. Choose another target."
            )
        if not overwrite:
            raise CheckpointError(
                f"{target}: exists already. Choose another target, or ask to overwrite it."
            )


def check_space(plan: Plan, target: Path) -> None:
    """Refuse a disk that cannot hold what is still to be written.

    Raises:
        CheckpointError: says how much is missing.
    """
    place = next(parent for parent in target.parents if parent.exists())
    written = [path.stat() for path in folder_for(target).glob("*/*.safetensors")]
    needed = plan.bytes_out + staged_bytes(plan) - sum(512 * status.st_blocks for status in written)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise CheckpointError(
            f"{place}: {in_words(free)} free, the conversion takes {in_words(needed)}. "
            "Free space, choose another disk or a recipe with fewer bits."
        )


def predicted(plan: Plan) -> dict[str, int]:
    """What a conversion will take: `disk_bytes` while it runs, and `peak_bytes` of memory."""
    return {
        "disk_bytes": plan.bytes_out + staged_bytes(plan),
        "peak_bytes": peak_bytes(lay_out(plan)),
    }


def staged_bytes(plan: Plan) -> int:
    """The most that files from the hub take at a time."""
    remote = plan.source.remote
    sizes = sorted(remote.sizes.values(), reverse=True) if remote else []
    return sum(sizes[: SHARDS_AHEAD + 1])


def check_memory(plan: Plan, layout: FileLayout) -> None:
    """Refuse a machine that has not the memory.

    Raises:
        MemoryLimitError: says how much it takes.
    """
    needed, machine = peak_bytes(layout), memory.machine_memory_bytes()
    if needed > machine:
        raise MemoryLimitError(
            f"{plan.source.folder}: converting takes {in_words(needed)} of memory. Expected at "
            f"most this machine's {in_words(machine)}; use a larger one."
        )


def peak_bytes(layout: FileLayout) -> int:
    """An upper estimate of the memory that converting takes beside the program itself."""
    shapes = {(chunk.job.exact, *_sizes(chunk)): chunk for chunk in layout.chunks}
    return max((_peak(chunk) for chunk in shapes.values()), default=0)


def _peak(chunk: TensorChunk) -> int:
    numbers, packed = _sizes(chunk)[0], chunk.bytes_out
    read = chunk.bytes_in
    widened = 0 if read == 2 * numbers else 3 * 4 * numbers  # FP8 and packed ones, in float32
    computing = read + widened + 2 * numbers + 2 * packed
    return (AHEAD + 2) * read + (CPU_STREAMS + 1) * computing + (WAITING + 1) * packed


def _sizes(chunk: TensorChunk) -> tuple[int, int]:
    shape = chunk.tensors[0].shape
    rows = max(shape[0], 1) if shape else 1
    numbers = math.prod(shape) * (chunk.stop - chunk.start) // rows
    return numbers * len(chunk.tensors), chunk.bytes_out
