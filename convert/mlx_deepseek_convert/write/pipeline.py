"""Chunks of work on their way through reading, computing and writing, each on its own thread.

The queues between them hold few chunks of bounded size, so memory does not grow with the
checkpoint, and the slowest stage never waits for another.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import mlx.core as mx
import numpy as np

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.runtime.cpu import available_cores
from mlx_deepseek_convert.planning.chunks import TensorChunk
from mlx_deepseek_convert.planning.lossless import move_codes
from mlx_deepseek_convert.planning.outputs import as_integers
from mlx_deepseek_convert.source.tensors import as_array, read_bytes
from mlx_deepseek_convert.write.source_files import SourceFiles
from mlx_deepseek_convert.write.writer import CheckpointWriter, Stored

AHEAD = 8  # chunks read and not yet computed
CPU_STREAMS = 4  # at most; a GPU needs one
MLX_CACHE_BYTES = 1 << 28
BF16_MAX = 3.3895313892515355e38

Raw = list[list[np.ndarray]]
Numbered = tuple[int, TensorChunk]


def read_ahead(
    todo: Iterable[Numbered], files: SourceFiles
) -> Generator[tuple[int, TensorChunk, Raw], None, None]:
    """Number, chunk and bytes of each tensor's parts, read on a thread ahead of who asks.

    Raises:
        CheckpointError: a source cannot be read, or does not come.
    """

    def read(number: int, chunk: TensorChunk) -> tuple[int, TensorChunk, Raw]:
        raw = [
            [read_bytes(part, files.locate(part.file)) for part in tensor.parts]
            for tensor in chunk.narrowed()
        ]
        return number, chunk, raw

    ahead: deque[Future[tuple[int, TensorChunk, Raw]]] = deque()
    with ThreadPoolExecutor(1, "convert-read") as pool:
        try:
            for numbered in todo:
                ahead.append(pool.submit(read, *numbered))
                if len(ahead) > AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            files.close()
            pool.shutdown(wait=False, cancel_futures=True)


def run(
    chunks: Iterable[tuple[int, TensorChunk, Raw]],
    writer: CheckpointWriter,
    progress: Callable[[int], None],
    *,
    check_finite: bool = True,
) -> None:
    """Compute what is read and hand it to the writer; `progress` takes the bytes written so far.

    Raises:
        CheckpointError: a source cannot be read or holds NaN or infinity, or the disk is full.
    """
    with _streams() as streams:
        under_way: deque[tuple[Stored, mx.array]] = deque()
        for turn, (number, chunk, raw) in enumerate(chunks):
            with mx.stream(streams[turn % len(streams)]):
                sources = decoded(chunk, raw)
                values = compute(chunk, raw, sources)
                sound = all_finite(sources) if check_finite else mx.array(True)
                mx.async_eval(values, sound)
            del raw, sources  # or they would wait for the next chunk
            under_way.append(((number, chunk, values), sound))
            if len(under_way) > len(streams):
                _hand_over(*under_way.popleft(), writer)
                progress(writer.bytes_done)
        while under_way:
            _hand_over(*under_way.popleft(), writer)


def decoded(chunk: TensorChunk, raw: Raw) -> list[mx.array]:
    """The values of a chunk's sources, not yet evaluated."""
    return [
        tensor.decode(list(map(as_array, tensor.parts, parts)))
        for tensor, parts in zip(chunk.narrowed(), raw, strict=True)
    ]


def compute(chunk: TensorChunk, raw: Raw, sources: list[mx.array]) -> list[mx.array]:
    """The stored form of a chunk's result, not yet evaluated."""
    job = chunk.job
    if job.exact:
        stored = move_codes(job.step, chunk.narrowed()[0], raw[0])
        return [as_integers(part) for part in stored]
    return [
        as_integers(stored)
        for output, value in zip(job.outputs, job.step.op.apply(sources), strict=True)
        for stored in output.store(value)
    ]


def all_finite(values: list[mx.array]) -> mx.array:
    """Whether numbers are finite, and stay so in bfloat16."""
    # Reductions, NaN included, take no memory of the values' size.
    largest = [mx.maximum(value.max(), -value.min()) for value in values]
    return mx.stack([number <= BF16_MAX for number in largest]).all()


def _hand_over(item: Stored, sound: mx.array, writer: CheckpointWriter) -> None:
    mx.eval(item[2], sound)
    if not sound.item():
        raise not_finite(item[1])
    writer.put(item)


def not_finite(chunk: TensorChunk) -> CheckpointError:
    """The error for a chunk that holds what is no number, with its first place."""
    for tensor, rows in zip(chunk.tensors, chunk.narrowed(), strict=True):
        value = np.array(rows.read().astype(mx.float32))
        wrong = np.argwhere(~(np.abs(value) <= BF16_MAX))
        if len(wrong):
            row, *others = (int(n) for n in wrong[0]) if value.ndim else (0,)
            where = [chunk.start + row, *others]
            found = value[tuple(wrong[0])]
            return CheckpointError(
                f"{tensor.info.file}: tensor {tensor.info.name!r} is {found:g} at {where}, the "
                f"first of {len(wrong)} such numbers nearby. Download it again; if the release "
                "itself is so, allow numbers that bfloat16 does not have (--allow-nonfinite)."
            )
    raise AssertionError


@contextmanager
def _streams() -> Iterator[list[mx.Stream]]:
    """Where to compute; buffers that MLX keeps for reuse are few while it lasts."""
    device = mx.default_device()
    count = 1 if device.type != mx.DeviceType.cpu else min(available_cores(), CPU_STREAMS)
    before = mx.set_cache_limit(MLX_CACHE_BYTES)
    try:
        yield [mx.new_stream(device) for _ in range(count)]
    finally:
        mx.set_cache_limit(before)
        mx.clear_cache()
