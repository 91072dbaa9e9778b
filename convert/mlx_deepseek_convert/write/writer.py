"""Computed chunks to their places on the disk: written, committed, checked, each on a thread.

A commit waits until bytes are on the disk, then notes their chunks in the journal. A file whose
chunks are all there is read back: every chunk must be on the disk as it was computed.
"""

import hashlib
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_deepseek_convert.planning.chunks import FileLayout, TensorChunk
from mlx_deepseek_convert.write.disk import (
    InterruptedConversionError,
    describe_failure,
    sync,
    write_at,
)
from mlx_deepseek_convert.write.journal import Journal

WAITING = 8  # chunks computed and not yet written
COMMIT_BYTES = 1 << 28
COMMIT_SECONDS = 3.0

Stored = tuple[int, TensorChunk, list[mx.array]]


class WorkThread:
    """One thread for work handed to it in order; what fails is raised where more is handed over.

    At most `waiting` chunks of work are put off; with one more, `put` waits.
    """

    def __init__(self, name: str, waiting: int = 1 << 30):
        self._pool = ThreadPoolExecutor(1, name)
        self._room = threading.Semaphore(waiting + 1)
        self._error: BaseException | None = None
        self._abandoned = False

    def put(self, work: Callable[..., None], *args: Any) -> None:
        """Hand over work; raises what went wrong with an earlier one."""
        self._check()
        self._room.acquire()
        self._pool.submit(self._do, work, args)

    def abandon(self) -> None:
        """Do nothing of what is waiting, or comes later."""
        self._abandoned = True

    def finish(self) -> None:
        """Wait until all is done; raises what went wrong."""
        self._pool.shutdown()
        self._check()

    def _do(self, work: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            if self._error is None and not self._abandoned:
                work(*args)
        except BaseException as error:
            self._error = error
        finally:
            self._room.release()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error


@dataclass
class Uncommitted:
    """Chunks that were written since the last commit: their checksums, and the files they fill."""

    checksums: dict[int, list[int]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    nbytes: int = 0
    since: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        """Whether it is time to commit."""
        return self.nbytes >= COMMIT_BYTES or time.monotonic() - self.since > COMMIT_SECONDS


class CheckpointWriter:
    """Takes computed chunks; `released` is told which ones will not be read again."""

    def __init__(
        self,
        folder: Path,
        layout: FileLayout,
        journal: Journal,
        released: Callable[[list[TensorChunk]], None],
    ):
        self._folder, self._layout, self._journal = folder, layout, journal
        self._released = released
        self._writing = WorkThread("convert-write", WAITING)
        self._committing = WorkThread("convert-commit", 1)
        self._checking = WorkThread("convert-check")
        self._batch = Uncommitted()
        self.bytes_done = 0
        self._chunks: dict[str, list[int]] = defaultdict(list)
        for number, chunk in enumerate(layout.chunks):
            for name in {place.file for place in chunk.places}:
                self._chunks[name].append(number)
        self._missing = Counter({name: len(numbers) for name, numbers in self._chunks.items()})
        self._note(journal.chunks)

    def put(self, item: Stored) -> None:
        """Write a chunk when its turn comes; raises what went wrong with an earlier one."""
        self._writing.put(self._write, *item)

    def finish(self, *, whole: bool) -> None:
        """Wait until what was handed over is committed and, if it is the `whole`, checked.

        Raises:
            InterruptedConversionError: the disk is full, or does not hold what was written.
        """
        if not whole:
            self._checking.abandon()
        try:
            self._writing.finish()
        finally:
            try:
                self._committing.put(self._commit, self._batch)
                self._committing.finish()
            finally:
                self._checking.finish()

    def _write(self, number: int, chunk: TensorChunk, values: list[mx.array]) -> None:
        sums = [self._write_place(*pair) for pair in zip(chunk.places, values, strict=True)]
        self._batch.checksums[number] = sums
        self._batch.nbytes += chunk.bytes_out
        self.bytes_done += chunk.bytes_out
        if self._batch.due:
            self._committing.put(self._commit, self._batch)
            self._batch = Uncommitted()

    def _write_place(self, place: Any, value: mx.array) -> int:
        data = memoryview(value).cast("B")  # type: ignore[arg-type]
        assert len(data) == place.nbytes, place
        try:
            write_at(self._folder / place.file, place.start, data)
        except OSError as error:
            raise describe_failure(self._folder, error) from error
        self._batch.files.add(place.file)
        return zlib.crc32(data)

    def _commit(self, batch: Uncommitted) -> None:
        try:
            for name in batch.files:
                sync(self._folder / name)
            self._journal.add_chunks(batch.checksums)
        except OSError as error:
            raise describe_failure(self._folder, error) from error
        self._note(batch.checksums)
        self._released([self._layout.chunks[number] for number in batch.checksums])

    def _note(self, chunks: Iterable[int]) -> None:
        """Count chunks that are on the disk; files that are complete are checked."""
        for number in chunks:
            for name in {place.file for place in self._layout.chunks[number].places}:
                self._missing[name] -= 1
                if not self._missing[name] and name not in self._journal.files:
                    self._checking.put(self._check, name)

    def _check(self, name: str) -> None:
        """Read a file back, and note its SHA-256 if all its chunks have the journal's checksums."""
        spans = sorted(
            (place.start, place.nbytes, checksum, number)
            for number in self._chunks[name]
            for place, checksum in zip(
                self._layout.chunks[number].places, self._journal.chunks[number], strict=True
            )
            if place.file == name
        )
        damaged = []
        with (self._folder / name).open("rb") as file:
            whole = hashlib.sha256(file.read(len(self._layout.headers[name])))
            for start, nbytes, checksum, number in spans:
                assert file.tell() == start
                data = file.read(nbytes)
                whole.update(data)
                if zlib.crc32(data) != checksum:
                    damaged.append(number)
        if damaged:
            self._journal.forget(damaged)
            raise InterruptedConversionError(
                f"{self._folder / name}: does not hold what was written to it; the disk may be "
                "failing. Convert again: only what is damaged is done anew."
            )
        self._journal.add_file(name, whole.hexdigest())
