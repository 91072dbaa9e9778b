"""Blocks on disk, one file each, in a folder that several processes may use at once."""

import contextlib
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mlx_deepseek.cache.blocks import BlockLayout, Bytes, CacheBlock, decode, encode, root
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.runtime.whole_file import write_whole

STORE = re.compile(r"[0-9a-f]{64}")
FINISHED = re.compile(r"[0-9a-f]{64}\.safetensors")
UNFINISHED = re.compile(r"\.?\d+-\w+\.tmp")
# An unfinished file this old is of a process that was killed.
STALE_S = 3600
# Between the times of use of a chain's files; some file systems do not keep nanoseconds.
TOUCH_STEP_NS = 1000


class StoredFile(NamedTuple):
    """A file in the folder; the first fields decide which goes first."""

    used_ns: int
    path: Path
    nbytes: int


class DiskBlocks:
    """At most `limit_bytes` of files in `folder`, whichever store they belong to."""

    def __init__(self, folder: Path, key: str, limit_bytes: int):
        self._folder = folder
        self._own = folder / root(key).hex()
        self._key = key
        self._limit_bytes = limit_bytes
        self._writable = True
        self._unusable: set[str] = set()  # damaged ones that could not be removed

    def __contains__(self, name: str) -> bool:
        return name not in self._unusable and os.path.isfile(self._path(name))

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks in the folder."""
        return sum(file.nbytes for file in self._files(FINISHED))

    def read(self, name: str, expected: BlockLayout | None) -> CacheBlock | None:
        """A whole and valid block, or None; warns of a damaged file and removes it."""
        if name not in self:
            return None
        try:
            block = decode(self._path(name), self._key, name)
        except (CheckpointError, OSError):
            return self._reject(name)
        if expected is not None and block.layout != expected:
            return self._reject(name)
        return block

    def write(self, names: Sequence[str], block: Callable[[int], CacheBlock]) -> None:
        """Write those of a chain that are missing, parents first, as far as there is room.

        `block` gives the one at an index of `names`.
        """
        missing = [i for i, name in enumerate(names) if name not in self] if self._writable else []
        room_bytes: int | None = None
        for i in missing:
            parts = encode(block(i), self._key, names[i])
            size = sum(map(len, parts))
            if room_bytes is None:
                room_bytes = self._make_room(size * len(missing), names)
            room_bytes -= size
            if room_bytes < 0 or not self._write(names[i], parts):
                return

    def touch(self, names: Sequence[str]) -> None:
        """Note that a chain, or its beginning, is in use."""
        now_ns = time.time_ns()
        for i, name in enumerate(reversed(names)):  # parents last, so that they stay longer
            used_ns = now_ns + i * TOUCH_STEP_NS
            with contextlib.suppress(OSError):  # gone, or not ours to touch
                os.utime(self._path(name), ns=(used_ns, used_ns))

    def clear(self) -> None:
        """Remove every store's blocks, and unfinished files; nothing else in the folder."""
        for file in [*self._files(FINISHED), *self._files(UNFINISHED)]:
            _remove(file.path)

    def _path(self, name: str) -> Path:
        return self._own / f"{name}.safetensors"

    def _reject(self, name: str) -> None:
        path = self._path(name)
        if not os.path.lexists(path):  # another process was faster, in removing or in evicting
            return
        warnings.warn(
            f"{path}: not a block of this model's prompt cache, or damaged. It is removed and its "
            "tokens are read again; if this comes back, check the disk.",
            stacklevel=2,
        )
        if not _remove(path):
            self._unusable.add(name)

    def _write(self, name: str, parts: Sequence[Bytes]) -> bool:
        """Make a file appear whole or not at all; returns whether it did."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # conversations are private
            self._own.mkdir(mode=0o700, exist_ok=True)
            write_whole(self._path(name), lambda file: file.writelines(parts), mode=0o600)
        except FileNotFoundError:  # another process cleared the folder
            return False
        except OSError as error:
            self._writable = False
            warnings.warn(
                f"{self._folder}: prompt caches cannot be written ({error.strerror}); they are "
                "kept in memory only. Free space or choose another folder, then load again.",
                stacklevel=2,
            )
            return False
        self._unusable.discard(name)
        return True

    def _make_room(self, needed_bytes: int, keep: Sequence[str]) -> int:
        """Remove files, but none of `keep`, until `needed_bytes` fit; returns how many do."""
        for file in self._files(UNFINISHED):
            if time.time_ns() - file.used_ns > STALE_S * 1e9:
                _remove(file.path)
        files = sorted(self._files(FINISHED))
        kept = {self._path(name) for name in keep}
        room_bytes = self._limit_bytes - sum(file.nbytes for file in files)
        for file in files:
            if room_bytes >= needed_bytes:
                break
            if file.path not in kept and _remove(file.path):
                room_bytes += file.nbytes
        return room_bytes

    def _files(self, kind: re.Pattern[str]) -> Iterator[StoredFile]:
        """Every store's files of a kind; those that vanish meanwhile are left out."""
        for folder in _entries(self._folder):
            for path in _entries(folder) if STORE.fullmatch(folder.name) else ():
                if kind.fullmatch(path.name):
                    with contextlib.suppress(OSError):
                        status = path.stat()
                        yield StoredFile(status.st_mtime_ns, path, status.st_size)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _remove(path: Path) -> bool:
    """Whether the file is gone, whoever removed it."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
