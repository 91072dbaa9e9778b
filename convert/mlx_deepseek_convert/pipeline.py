"""Pieces of work on their way through reading, computing and writing, each on its own thread.

The queues between them hold few pieces of bounded size, so memory does not grow with the
checkpoint, and the slowest stage never waits for another.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import mlx.core as mx
import numpy as np

from mlx_deepseek.cpu import available_cores
from mlx_deepseek_convert.exact import move_codes
from mlx_deepseek_convert.outputs import as_integers
from mlx_deepseek_convert.pieces import Piece
from mlx_deepseek_convert.supply import Supply
from mlx_deepseek_convert.tensors import as_array, read_bytes
from mlx_deepseek_convert.writer import Stored, Writer

AHEAD = 8  # pieces read and not yet computed
CPU_STREAMS = 4  # at most; a GPU needs one
MLX_CACHE_BYTES = 1 << 28

Raw = list[list[np.ndarray]]
Numbered = tuple[int, Piece]


class Reader(threading.Thread):
    """Reads pieces' bytes ahead; iterate for (number, piece, bytes of each tensor's parts)."""

    def __init__(self, todo: Iterable[Numbered], supply: Supply):
        super().__init__(name="convert-reader", daemon=True)
        self._todo, self._supply = todo, supply
        self._queue: queue.Queue[tuple[int, Piece, Raw] | BaseException | None]
        self._queue = queue.Queue(AHEAD)
        self._stopped = threading.Event()

    def run(self) -> None:
        """The thread's work."""
        try:
            for number, piece in self._todo:
                raw = [
                    [read_bytes(part, self._supply.locate(part.file)) for part in tensor.parts]
                    for tensor in piece.narrowed()
                ]
                self._queue.put((number, piece, raw))
                if self._stopped.is_set():
                    return
            self._queue.put(None)
        except BaseException as error:
            self._queue.put(error)

    def __iter__(self) -> Iterator[tuple[int, Piece, Raw]]:
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def stop(self) -> None:
        """End early: what is read is thrown away."""
        self._stopped.set()
        self._supply.close()
        while self.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except queue.Empty:
                continue


def run(reader: Reader, writer: Writer, progress: Callable[[int], None]) -> None:
    """Do all pieces; `progress` takes the bytes written so far.

    Raises:
        CheckpointError: a source cannot be read, or the disk is full.
    """
    reader.start()
    writer.start()
    try:
        with _streams() as streams:
            under_way: deque[Stored] = deque()
            for turn, (number, piece, raw) in enumerate(reader):
                with mx.stream(streams[turn % len(streams)]):
                    values = compute(piece, raw)
                    mx.async_eval(values)
                under_way.append((number, piece, values))
                if len(under_way) > len(streams):
                    _hand_over(under_way.popleft(), writer)
                    progress(writer.bytes_done)
            while under_way:
                _hand_over(under_way.popleft(), writer)
    finally:
        reader.stop()
        writer.finish()
    progress(writer.bytes_done)


def compute(piece: Piece, raw: Raw) -> list[mx.array]:
    """The stored form of a piece's result, not yet evaluated."""
    job, tensors = piece.job, piece.narrowed()
    if job.exact:
        return [as_integers(stored) for stored in move_codes(job.step, tensors[0], raw[0])]
    sources = [
        tensor.decode(list(map(as_array, tensor.parts, parts)))
        for tensor, parts in zip(tensors, raw, strict=True)
    ]
    return [
        as_integers(stored)
        for output, value in zip(job.outputs, job.step.op.apply(sources), strict=True)
        for stored in output.store(value)
    ]


def _hand_over(item: Stored, writer: Writer) -> None:
    mx.eval(item[2])
    writer.put(item)


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
