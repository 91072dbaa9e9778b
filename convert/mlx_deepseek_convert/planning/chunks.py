"""Where every byte of a conversion goes: the output files' layout, and the chunks that fill it.

All of it follows from the plan. A chunk is some rows of one source tensor with the places in the
output files that its result fills, so chunks can be done in any order, once, by any run.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mlx_deepseek.checkpoint.safetensors_header import DTYPES, build_header
from mlx_deepseek_convert.planning.plan import Plan, TensorJob
from mlx_deepseek_convert.source.formats import Shape
from mlx_deepseek_convert.source.tensors import Tensor

# Numbers in a chunk: an expert's matrix of DeepSeek-V3 (2048 x 7168) is two.
CHUNK_NUMBERS = 1 << 23


class Place(NamedTuple):
    """Bytes of an output file."""

    file: str
    start: int
    nbytes: int


@dataclass(frozen=True)
class TensorChunk:
    """Rows `start` to `stop` of `tensors` (several where the operation joins them).

    `places` are the result's, in the order in which the job's outputs store it.
    """

    places: tuple[Place, ...]
    tensors: tuple[Tensor, ...]
    start: int
    stop: int
    job: TensorJob

    @property
    def bytes_in(self) -> int:
        """Bytes to be read."""
        return sum(part.nbytes for tensor in self.narrowed() for part in tensor.parts)

    @property
    def bytes_out(self) -> int:
        """Bytes to be written."""
        return sum(place.nbytes for place in self.places)

    def narrowed(self) -> tuple[Tensor, ...]:
        """The tensors' rows."""
        return tuple(tensor.rows(self.start, self.stop) for tensor in self.tensors)


@dataclass(frozen=True)
class FileLayout:
    """Each output file's first bytes and size, and the chunks in the order of reading."""

    headers: dict[str, bytes]
    sizes: dict[str, int]
    chunks: tuple[TensorChunk, ...]


def lay_out(plan: Plan, chunk_numbers: int = CHUNK_NUMBERS) -> FileLayout:
    """The layout of a plan's files; chunks in the order of the source's files and bytes."""
    headers, sizes, chunks = {}, {}, []
    for name, jobs in plan.files.items():
        stored = [tensor for job in jobs for output in job.outputs for tensor in output.tensors()]
        entries = {tensor: (dtype, shape) for tensor, dtype, shape in stored}
        headers[name], starts = build_header(entries, {"format": plan.layout})
        sizes[name] = len(headers[name]) + sum(job.nbytes for job in jobs)
        for job in jobs:
            chunks += cut(job, name, starts, chunk_numbers)
    chunks.sort(key=_reading_order)
    return FileLayout(headers, sizes, tuple(chunks))


def cut(
    job: TensorJob, file: str, starts: dict[str, int], chunk_numbers: int
) -> Iterator[TensorChunk]:
    """The chunks of a job whose stored tensors begin at `starts` in `file`."""
    op, sources = job.step.op, job.step.sources
    turns = [sources] if op.joins else [(source,) for source in sources]
    stored = [
        (starts[name], DTYPES[dtype].nbytes * math.prod(shape))
        for output in job.outputs
        for name, dtype, shape in output.tensors()
    ]
    for turn, tensors in enumerate(turns):
        rows = first_axis(tensors[0].shape)
        whole = len(turns) * rows
        matrix = any(o.setting and o.setting.has_tensor_scale(o.shape) for o in job.outputs)
        unit = rows if matrix and len(tensors[0].shape) == 2 else op.unit
        for start, stop in _spans(tensors, unit, chunk_numbers):
            begin, end = turn * rows + start, turn * rows + stop
            places = tuple(
                Place(file, at + size * begin // whole, size * (end - begin) // whole)
                for at, size in stored
            )
            yield TensorChunk(places, tensors, start, stop, job)


def first_axis(shape: Shape) -> int:
    """Rows of a tensor; a scalar is one."""
    return shape[0] if shape else 1


def _spans(tensors: Sequence[Tensor], unit: int, chunk_numbers: int) -> Iterator[tuple[int, int]]:
    """Equal ranges of rows of at most `chunk_numbers` numbers, unless a unit has more."""
    rows = first_axis(tensors[0].shape)
    numbers = sum(math.prod(tensor.shape) for tensor in tensors)
    unit = math.lcm(unit, *(tensor.unit for tensor in tensors))
    count = -(-numbers // chunk_numbers)
    step = -(-rows // max(count, 1) // unit) * unit
    for start in range(0, rows, step) if step else ():
        yield start, min(start + step, rows)


def _reading_order(chunk: TensorChunk) -> tuple[str, int, int]:
    """By the last file that the chunk needs, so that earlier ones can be given up early."""
    parts = [part for tensor in chunk.tensors for part in tensor.parts]
    last = max(str(part.file) for part in parts)
    return last, min(part.start for part in parts if str(part.file) == last), chunk.start
