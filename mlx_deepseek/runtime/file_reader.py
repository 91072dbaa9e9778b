"""Parts of large files into memory that is there already, many reads at a time.

One thread that reads a file waits for the disk between two requests; an SSD reaches its speed with
a dozen of them in flight. Reads are plain `pread`s, so the system's page cache serves what it has.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlx_deepseek.errors import CheckpointError

IN_FLIGHT = 16
# So many short reads cost more to hand out one by one than they take.
MOST_JOBS = 8 * IN_FLIGHT
# A longer part is read in pieces, and neighbours are read together up to this.
PIECE_BYTES = 2 << 20
# Buffers of one `preadv`: POSIX promises 16, Linux and macOS allow 1,024.
MOST_BUFFERS = 512

# Writes what was read (bytes) into a part's memory (bytes), as other numbers.
Convert = Callable[[np.ndarray, np.ndarray], None]


class Part(NamedTuple):
    """`nbytes` from `offset` of a file on, and the memory [bytes] that they are for.

    Without `convert` the memory has `nbytes`, too.
    """

    file: Path
    offset: int
    nbytes: int
    memory: np.ndarray
    convert: Convert | None = None


class PendingReads:
    """Reads in flight; until `wait` returns or raises, their memory may still be written to."""

    def __init__(self, futures: Sequence["Future[None]"], check: Callable[[], None]):
        self._futures = futures
        self._check = check

    @property
    def done(self) -> bool:
        """Whether nothing is in flight."""
        return all(future.done() for future in self._futures)

    def wait(self) -> None:
        """Wait for all reads.

        Raises:
            CheckpointError: one failed, or its file is no longer the one that was opened.
        """
        wait(self._futures)
        for future in self._futures:
            future.result()
        self._check()


class FileReader:
    """Reads files that it opened once: one that is replaced later does not mix with the old one."""

    def __init__(self, files: Iterable[Path]):
        self._files: dict[Path, int] = {}
        self._states: dict[Path, tuple[int, ...]] = {}
        for path in files:
            try:
                self._files[path] = os.open(path, os.O_RDONLY)
                self._states[path] = _state(self._files[path])
            except OSError as error:
                raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from error

    def __del__(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)

    def start(self, parts: Iterable[Part]) -> PendingReads:
        """Begin to read; neighbours of one file are read together."""
        found = together(pieces(parts))
        files = {job[0].file for job in found}
        jobs = [found[i::MOST_JOBS] for i in range(min(len(found), MOST_JOBS))]
        futures = [reading_pool().submit(self._read_all, job) for job in jobs]
        return PendingReads(futures, lambda: self._require_unchanged(files))

    def _read_all(self, jobs: Sequence[Sequence[Part]]) -> None:
        for job in jobs:
            self._read(job)

    def _read(self, job: Sequence[Part]) -> None:
        if job[0].convert is None:
            return self._fill(job[0].file, job[0].offset, [part.memory for part in job])
        size = sum(part.nbytes for part in job)
        scratch = _scratch(size)
        self._fill(job[0].file, job[0].offset, [scratch])
        start = 0
        for part in job:
            assert part.convert is not None
            part.convert(scratch[start : start + part.nbytes], part.memory)
            start += part.nbytes

    def _fill(self, file: Path, offset: int, buffers: list[np.ndarray]) -> None:
        """Read until all buffers are full: one call may return less than was asked for."""
        views = [buffer.data for buffer in buffers]
        while views:
            try:
                count = os.preadv(self._files[file], views, offset)
            except OSError as error:
                raise CheckpointError(
                    f"{file}: cannot be read at byte {offset} ({error.strerror}). Check the disk, "
                    "then ask again."
                ) from error
            if count <= 0:
                raise CheckpointError(
                    f"{file}: ends at byte {offset}, where more is expected. The file was cut "
                    "short after it was loaded; download it again."
                )
            offset += count
            while views and count >= len(views[0]):
                count -= len(views.pop(0))
            if count:
                views[0] = views[0][count:]

    def _require_unchanged(self, files: Iterable[Path]) -> None:
        for file in files:
            try:
                unchanged = _state(self._files[file]) == self._states[file]
            except OSError as error:
                raise CheckpointError(f"{file}: cannot be read ({error.strerror}).") from error
            if not unchanged:
                raise CheckpointError(
                    f"{file}: has changed since the model was loaded. Load the model again."
                )


def pieces(parts: Iterable[Part]) -> list[Part]:
    """Parts in pieces of at most PIECE_BYTES; those that are converted stay whole."""
    cut = []
    for part in parts:
        if part.convert is not None:
            cut.append(part)
            continue
        for start in range(0, part.nbytes, PIECE_BYTES):
            memory = part.memory[start : start + PIECE_BYTES]
            cut.append(Part(part.file, part.offset + start, len(memory), memory))
    return cut


def together(parts: Iterable[Part]) -> list[list[Part]]:
    """Parts in groups that follow one another in a file, of at most PIECE_BYTES if several."""
    groups: list[list[Part]] = []
    size = 0
    for part in sorted(parts, key=lambda part: (part.file, part.offset)):
        last = groups[-1][-1] if groups else None
        if (
            last is not None
            and last.file == part.file
            and last.offset + last.nbytes == part.offset
            and (last.convert is None) == (part.convert is None)
            and size + part.nbytes <= PIECE_BYTES
            and len(groups[-1]) < MOST_BUFFERS
        ):
            groups[-1].append(part)
            size += part.nbytes
        else:
            groups.append([part])
            size = part.nbytes
    return groups


@cache
def reading_pool() -> ThreadPoolExecutor:
    """The process's threads that read: models share the disk, too."""
    return ThreadPoolExecutor(IN_FLIGHT, "mlx-deepseek-reading")


def read_bytes_per_s(parts: Sequence[Part]) -> float:
    """How fast this disk, or the page cache, gives these parts as they are.

    Raises:
        CheckpointError: a part cannot be read.
    """
    reader = FileReader({part.file for part in parts})
    began = time.perf_counter()
    reader.start(parts).wait()
    return sum(part.nbytes for part in parts) / (time.perf_counter() - began)


_reused = threading.local()


def _scratch(nbytes: int) -> np.ndarray:
    """This thread's own memory, used again by its next read."""
    if nbytes > len(getattr(_reused, "memory", ())):
        _reused.memory = np.empty(nbytes, np.uint8)
    return _reused.memory[:nbytes]


def _state(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns
