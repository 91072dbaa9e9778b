"""The folder `<target>.partial` in which a conversion grows until it is whole.

.lock       held while a process works here
journal     what is done
result/     becomes the target, by one rename
source/     files from the hub, each only while it is needed
replaced/   an earlier conversion on its way out
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlx_deepseek.checkpoint.repository import RECORD
from mlx_deepseek.errors import CheckpointError, DeepSeekError
from mlx_deepseek_convert.planning.chunks import FileLayout
from mlx_deepseek_convert.write.disk import (
    InterruptedConversionError,
    replace_folder,
    sync,
    write_at,
)
from mlx_deepseek_convert.write.journal import Journal, digest_of, has_work, is_publishing

LOCK = ".lock"
JOURNAL = "journal"
RESULT, STAGING, REPLACED = "result", "source", "replaced"
OURS = {LOCK, JOURNAL, RESULT, STAGING, REPLACED}


@dataclass(frozen=True)
class Workspace:
    """Where one conversion works; `target` is the final name."""

    folder: Path
    target: Path
    journal: Journal

    @property
    def result(self) -> Path:
        """The growing checkpoint."""
        return self.folder / RESULT

    @property
    def staging(self) -> Path:
        """Where source files are while they are needed."""
        return self.folder / STAGING

    def prepare(self, layout: FileLayout) -> None:
        """Make every weight file in its full size; start anew unless all of an earlier run's are.

        Raises:
            OSError: the disk is full.
        """
        sizes = {path.name: path.stat().st_size for path in self.result.glob("*.safetensors")}
        if self.journal.chunks and sizes != layout.sizes:
            self.journal.restart()
        if not self.journal.chunks:
            shutil.rmtree(self.result, ignore_errors=True)
        self.result.mkdir(exist_ok=True)
        for name, header in layout.headers.items():
            path = self.result / name
            path.touch()
            os.truncate(path, layout.sizes[name])
            write_at(path, 0, header)

    def publish(self) -> None:
        """Give the finished result its final name, in place of an earlier conversion."""
        for path in (*self.result.iterdir(), self.result):
            sync(path)
        self.journal.add_publishing()
        replace_folder(self.result, self.target, self.folder / REPLACED)


def published(target: Path, digest: str) -> bool:
    """Whether a run of this plan was stopped after giving its result the final name."""
    folder = folder_for(target)
    return (
        digest_of(folder / JOURNAL) == digest
        and is_publishing(folder / JOURNAL)
        and not (folder / RESULT).exists()
        and (target / RECORD).is_file()
    )


def folder_for(target: Path) -> Path:
    """The workspace's folder, beside the target."""
    return target.with_name(target.name + ".partial")


@contextmanager
def opened(target: Path, digest: str, *, overwrite: bool) -> Iterator[Workspace]:
    """The workspace of a conversion, locked.

    Removed at the end; kept if the conversion was interrupted and something is done.

    Raises:
        CheckpointError: it is not ours, in use, or holds unfinished work of another plan.
    """
    folder = folder_for(target)
    folder.mkdir(parents=True, exist_ok=True)
    if any(path.name not in OURS for path in folder.iterdir()):
        raise CheckpointError(f"{folder}: is in the way and not ours. Remove or rename it.")
    with (folder / LOCK).open("wb") as lock:
        _lock(lock, folder)
        if (folder / REPLACED).exists() and not target.exists():
            os.rename(folder / REPLACED, target)  # killed between the two renames of `publish`
        other = digest_of(folder / JOURNAL) not in (None, digest)
        if other and has_work(folder / JOURNAL) and not overwrite:
            raise CheckpointError(
                f"{folder}: holds an unfinished conversion of other files or with another recipe. "
                "Finish that one, remove the folder, or ask to overwrite it."
            )
        journal = Journal(folder / JOURNAL, digest)
        keep = False
        try:
            yield Workspace(folder, target, journal)
        except BaseException as error:
            lasting = isinstance(error, DeepSeekError)
            lasting = lasting and not isinstance(error, InterruptedConversionError)
            keep = not lasting and bool(journal.chunks)
            raise
        finally:
            journal.close()
            if not keep:
                _remove(folder)


def _remove(folder: Path) -> None:
    """Clear away a workspace, the journal last: until then the next run knows what this was."""
    for name in (REPLACED, STAGING, RESULT):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (LOCK, JOURNAL):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _lock(file: BinaryIO, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: another conversion is writing here. Wait until it has finished."
        ) from error
