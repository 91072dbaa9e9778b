"""Reads finished files back: every piece must be on the disk as it was computed."""

import hashlib
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from mlx_deepseek_convert.files import InterruptedConversionError
from mlx_deepseek_convert.journal import Journal
from mlx_deepseek_convert.pieces import Layout
from mlx_deepseek_convert.stage import Stage


class Sealer(Stage[str]):
    """Checks each output file as soon as its last piece is written, and notes its SHA-256."""

    def __init__(self, folder: Path, layout: Layout, journal: Journal):
        super().__init__("convert-seal")
        self._folder, self._layout, self._journal = folder, layout, journal
        self._pieces: dict[str, list[int]] = defaultdict(list)
        for number, piece in enumerate(layout.pieces):
            for name in {place.file for place in piece.places}:
                self._pieces[name].append(number)
        self._missing = Counter({name: len(numbers) for name, numbers in self._pieces.items()})
        self.written(journal.pieces)

    def written(self, pieces: Iterable[int]) -> None:
        """Note that pieces are on the disk."""
        for number in pieces:
            for name in {place.file for place in self._layout.pieces[number].places}:
                self._missing[name] -= 1
                if not self._missing[name] and name not in self._journal.files:
                    self.put(name)

    def handle(self, item: str) -> None:
        """Check a file.

        Raises:
            InterruptedConversionError: the disk does not hold what was written to it.
        """
        self._journal.add_file(item, self._digest(item))

    def _digest(self, name: str) -> str:
        """The file's SHA-256, if all its pieces have the checksums of the journal."""
        spans = sorted(
            (place.start, place.nbytes, checksum, number)
            for number in self._pieces[name]
            for place, checksum in zip(
                self._layout.pieces[number].places, self._journal.pieces[number], strict=True
            )
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
        return whole.hexdigest()
