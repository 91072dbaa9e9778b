"""Source files from the hub, each on the disk only while pieces of it are still to be done."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub import try_to_load_from_cache as cached_file

from mlx_deepseek import hub
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.hub_progress import Report
from mlx_deepseek_convert.files import InterruptedConversionError
from mlx_deepseek_convert.pieces import Piece
from mlx_deepseek_convert.source import Remote
from mlx_deepseek_convert.supply import SHARDS_AHEAD

ATTEMPTS = 2  # at a file that comes damaged
RETRY_AFTER_S = (2, 10, 30, 60)


class HubSupply(threading.Thread):
    """Downloads ahead of the reader, verifies, and deletes what no unfinished piece needs."""

    def __init__(self, remote: Remote, staging: Path, todo: Sequence[Piece]):
        super().__init__(name="convert-download", daemon=True)
        self._remote, self._staging = remote, staging
        # Pieces that still need each file; the order of the keys is that of reading.
        self._needed = Counter(name for piece in todo for name in self._names(piece))
        self._ready: dict[str, Path] = {}
        self._wanted: str | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()

    def locate(self, file: Path) -> Path:
        """Where a file lies; waits until it is downloaded."""
        name = self._file_name(file)
        with self._changed:
            self._wanted = name
            self._changed.notify_all()
            self._changed.wait_for(lambda: name in self._ready or self._error or self._closed)
            if self._error is not None:
                raise self._error
            if self._closed:
                raise InterruptedConversionError(f"{self._remote.repo}: the conversion has ended.")
            return self._ready[name]

    def release(self, pieces: Sequence[Piece]) -> None:
        """Delete the files that no unfinished piece needs."""
        with self._changed:
            for name in [name for piece in pieces for name in self._names(piece)]:
                self._needed[name] -= 1
                path = self._ready.pop(name, None) if not self._needed[name] else None
                if path is not None and self._staging in path.parents:
                    path.unlink(missing_ok=True)
            self._changed.notify_all()

    def close(self) -> None:
        """End: nothing more is downloaded after the present file."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def run(self) -> None:
        """The thread's work."""
        try:
            for name in list(self._needed):
                with self._changed:
                    self._changed.wait_for(lambda name=name: self._may_begin(name))
                    if self._closed:
                        return
                path = self._obtain(name)
                with self._changed:
                    self._ready[name] = path
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _may_begin(self, name: str) -> bool:
        return self._closed or self._wanted == name or len(self._ready) < SHARDS_AHEAD

    def _obtain(self, name: str) -> Path:
        """A whole, verified file; the hub's cache may have it.

        Raises:
            InterruptedConversionError: the network is lost for longer than a few attempts.
            CheckpointError: what comes is not what the hub promised.
        """
        remote = self._remote
        cached = cached_file(remote.repo, name, revision=remote.commit)
        if isinstance(cached, str):
            return Path(cached)
        for _ in range(ATTEMPTS):
            path = self._download(name)
            if verified(path, remote.sizes[name], remote.checksums.get(name)):
                return path
            path.unlink()
        raise CheckpointError(
            f"{remote.repo}/{name}: {ATTEMPTS} downloads had another checksum than the hub says. "
            "Check network and disk, then convert again."
        )

    def _download(self, name: str) -> Path:
        remote = self._remote
        for wait_s in (*RETRY_AFTER_S, None):
            try:
                return Path(
                    hf_hub_download(
                        remote.repo,
                        name,
                        revision=remote.commit,
                        local_dir=self._staging,
                        tqdm_class=Report().bars(),
                    )
                )
            except Exception as error:  # which HTTP library raises depends on the hub's version
                if wait_s is None or self._closed:
                    reason = hub.explain(remote.repo, None, error)
                    raise InterruptedConversionError(
                        f"{reason} Then convert again: it goes on where it stopped."
                    ) from error
                time.sleep(wait_s)
        raise AssertionError

    def _names(self, piece: Piece) -> set[str]:
        return {self._file_name(part.file) for tensor in piece.tensors for part in tensor.parts}

    def _file_name(self, file: Path) -> str:
        return file.relative_to(self._remote.repo).as_posix()


def verified(path: Path, size: int, checksum: str | None) -> bool:
    """Whether a file is whole: its size, and its SHA-256 where the hub has one."""
    if path.stat().st_size != size:
        return False
    if checksum is None:
        return True
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == checksum
