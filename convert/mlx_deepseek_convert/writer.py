"""Puts pieces on the disk, and notes them in the journal once they are there."""

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from mlx_deepseek_convert.files import describe_failure, sync, write_at
from mlx_deepseek_convert.journal import Journal
from mlx_deepseek_convert.pieces import Piece
from mlx_deepseek_convert.stage import Stage

WAITING = 8  # pieces computed and not yet written
COMMIT_BYTES = 1 << 28
COMMIT_SECONDS = 3.0

Stored = tuple[int, Piece, list[mx.array]]


@dataclass
class Batch:
    """Pieces that were written since the last commit: their checksums, and the files they fill."""

    checksums: dict[int, list[int]] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    nbytes: int = 0
    since: float = field(default_factory=time.monotonic)

    @property
    def due(self) -> bool:
        """Whether it is time to commit."""
        return self.nbytes >= COMMIT_BYTES or time.monotonic() - self.since > COMMIT_SECONDS


class Committer(Stage[Batch]):
    """Waits for the disk, so that writing need not; then the journal, then `committed`."""

    def __init__(self, folder: Path, journal: Journal, committed: Callable[[list[int]], None]):
        super().__init__("convert-commit", waiting=1)
        self._folder, self._journal, self._committed = folder, journal, committed

    def handle(self, item: Batch) -> None:
        """Commit a batch."""
        try:
            for name in item.files:
                sync(self._folder / name)
            self._journal.add_pieces(item.checksums)
        except OSError as error:
            raise describe_failure(self._folder, error) from error
        self._committed(list(item.checksums))


class Writer(Stage[Stored]):
    """Writes pieces, each to its places."""

    def __init__(self, folder: Path, committer: Committer):
        super().__init__("convert-write", waiting=WAITING)
        self._folder, self._committer = folder, committer
        self._batch = Batch()
        self.bytes_done = 0

    def start(self) -> None:
        """Start the committer too."""
        self._committer.start()
        super().start()

    def handle(self, item: Stored) -> None:
        """Write a piece."""
        number, piece, values = item
        self._batch.checksums[number] = [
            self._write(piece, index, value) for index, value in enumerate(values)
        ]
        self._batch.nbytes += piece.bytes_out
        self.bytes_done += piece.bytes_out
        if self._batch.due:
            self._committer.put(self._batch)
            self._batch = Batch()

    def finish(self) -> None:
        """Wait until all that was written is committed."""
        try:
            super().finish()
        finally:
            self._committer.put(self._batch)
            self._committer.finish()

    def _write(self, piece: Piece, index: int, value: mx.array) -> int:
        place = piece.places[index]
        data = memoryview(value).cast("B")  # type: ignore[arg-type]
        assert len(data) == place.nbytes, place
        try:
            write_at(self._folder / place.file, place.start, data)
        except OSError as error:
            raise describe_failure(self._folder, error) from error
        self._batch.files.add(place.file)
        return zlib.crc32(data)
