"""Source files from the hub, each on the disk only while chunks of it are still to be done."""

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub import try_to_load_from_cache as cached_file

from mlx_deepseek.checkpoint.hub_errors import explain
from mlx_deepseek.checkpoint.hub_progress import DownloadProgress
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.planning.chunks import TensorChunk
from mlx_deepseek_convert.source.checkpoint import Remote, Source
from mlx_deepseek_convert.write.disk import InterruptedConversionError

ATTEMPTS = 2  # at a file that comes damaged
RETRY_AFTER_S = (2, 10, 30, 60)
SHARDS_AHEAD = 2  # files from the hub on the disk beside the one that is being downloaded


class SourceFiles:
    """Hands out source files and takes them back: here those of a folder, which is only read."""

    def locate(self, file: Path) -> Path:
        """Where a source file lies; waits until it does."""
        return file

    def release(self, chunks: Sequence[TensorChunk]) -> None:
        """Note that chunks are done and will not be read again."""

    def close(self) -> None:
        """End: whoever waits for a file gets an error, and no more files come."""


class HubFiles(SourceFiles):
    """Downloads ahead of the reader, verifies, and deletes what no unfinished chunk needs."""

    def __init__(self, remote: Remote, staging: Path, todo: Sequence[TensorChunk]):
        self._remote, self._staging = remote, staging
        # Chunks that still need each file; the order of the keys is that of reading.
        self._needed = Counter(name for chunk in todo for name in self._names(chunk))
        self._ready: dict[str, Path] = {}
        self._wanted: str | None = None
        self._error: BaseException | None = None
        self._closed = False
        self._changed = threading.Condition()
        # A daemon: an interruption does not wait for the network.
        threading.Thread(target=self._run, name="convert-download", daemon=True).start()

    def locate(self, file: Path) -> Path:
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

    def release(self, chunks: Sequence[TensorChunk]) -> None:
        with self._changed:
            for name in [name for chunk in chunks for name in self._names(chunk)]:
                self._needed[name] -= 1
                path = self._ready.pop(name, None) if not self._needed[name] else None
                if path is not None and self._staging in path.parents:
                    path.unlink(missing_ok=True)
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
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
                        tqdm_class=DownloadProgress().bars(),
                    )
                )
            except Exception as error:  # which HTTP library raises depends on the hub's version
                if wait_s is None or self._closed:
                    reason = explain(remote.repo, None, error)
                    raise InterruptedConversionError(
                        f"{reason} Then convert again: it goes on where it stopped."
                    ) from error
                time.sleep(wait_s)
        raise AssertionError

    def _names(self, chunk: TensorChunk) -> set[str]:
        return {self._file_name(part.file) for tensor in chunk.tensors for part in tensor.parts}

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


def open_source_files(source: Source, staging: Path, todo: Sequence[TensorChunk]) -> SourceFiles:
    """A source's files for chunks that are still to be done, in their order."""
    return SourceFiles() if source.remote is None else HubFiles(source.remote, staging, todo)
