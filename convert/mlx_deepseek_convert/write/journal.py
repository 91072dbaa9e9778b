"""What is done of a conversion, so that the next run goes on: a file to which lines are added.

A line stands for work whose bytes are on the disk already. What a crash left of the last line is
no valid JSON and is cut off.
"""

import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PUBLISHING = {"publishing": True}


class Journal:
    """`chunks` has the checksums of finished chunks by number, `files` those of whole files."""

    def __init__(self, path: Path, digest: str):
        self._digest = digest
        self.chunks: dict[int, list[int]] = {}
        self.files: dict[str, str] = {}
        self._lock = threading.Lock()
        kept = self._replay(path, digest)
        self._file = path.open("r+b" if kept else "wb")
        self._file.truncate(kept)
        self._file.seek(kept)
        if not kept:
            self.restart()

    def restart(self) -> None:
        """Begin anew: nothing is done."""
        self.chunks.clear()
        self.files.clear()
        self._file.seek(0)
        self._file.truncate()
        self._append([{"plan": self._digest}])

    def add_chunks(self, finished: Mapping[int, Sequence[int]]) -> None:
        """Note chunks with the CRC-32 of each of their places."""
        self.chunks |= {chunk: list(sums) for chunk, sums in finished.items()}
        self._append([[chunk, *sums] for chunk, sums in finished.items()])

    def add_file(self, name: str, digest: str) -> None:
        """Note that a file has been read back and found whole."""
        self.files[name] = digest
        self._append([{"file": name, "sha256": digest}])

    def forget(self, chunks: Iterable[int]) -> None:
        """Note that chunks must be done again."""
        redo = [chunk for chunk in chunks if self.chunks.pop(chunk, None) is not None]
        self._append([{"redo": redo}])

    def add_publishing(self) -> None:
        """Note that all is done, and that the result gets its final name next."""
        self._append([PUBLISHING])

    def close(self) -> None:
        """Close the file; lines that found no room on the disk are lost, their work is redone."""
        with suppress(OSError):
            self._file.close()

    def _replay(self, path: Path, digest: str) -> int:
        """Read an earlier run's lines; how many bytes of them are good (0: none, or not ours)."""
        content = path.read_bytes() if path.is_file() else b""
        good = 0
        for number, line in enumerate(content.splitlines(keepends=True)):
            entry = _parse(line)
            if entry is None or (number == 0 and entry != {"plan": digest}):
                break
            self._take(entry)
            good += len(line)
        return good

    def _take(self, entry: Any) -> None:
        if isinstance(entry, list):
            self.chunks[entry[0]] = entry[1:]
        elif "file" in entry:
            self.files[entry["file"]] = entry["sha256"]
        elif "redo" in entry:
            for chunk in entry["redo"]:
                self.chunks.pop(chunk, None)

    def _append(self, entries: Iterable[Any]) -> None:
        text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries)
        with self._lock:
            self._file.write(text.encode())
            self._file.flush()
            os.fsync(self._file.fileno())


def digest_of(path: Path) -> str | None:
    """Of which plan a journal is; None if there is none."""
    entry = _parse(path.read_bytes().partition(b"\n")[0] + b"\n") if path.is_file() else None
    return entry.get("plan") if isinstance(entry, dict) else None


def has_work(path: Path) -> bool:
    """Whether a journal notes anything done."""
    return path.is_file() and path.read_bytes().count(b"\n") > 1


def is_publishing(path: Path) -> bool:
    """Whether a journal ends with `add_publishing`."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return bool(lines) and _parse(lines[-1]) == PUBLISHING


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
