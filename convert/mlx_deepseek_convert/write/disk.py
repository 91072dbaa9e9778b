"""Writing that survives: bytes at their place, on the disk before anyone relies on them."""

import errno
import json
import os
import shutil
from pathlib import Path

from mlx_deepseek.errors import CheckpointError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class InterruptedConversionError(CheckpointError):
    """Something outside stopped a conversion; what is done is kept for the next run."""


def write_at(path: Path, start: int, data: bytes | memoryview) -> None:
    """Write bytes into an existing file."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, start)
            view, start = view[written:], start + written
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Wait until a file's or folder's content is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_folder(new: Path, target: Path, aside: Path) -> None:
    """Give the folder `new` the name `target`; what has that name goes by `aside` and then goes."""
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(target, aside)
    os.rename(new, target)
    sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def write_json(path: Path, content: object) -> None:
    """A JSON file for people and programs."""
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")


def describe_failure(folder: Path, error: OSError) -> InterruptedConversionError:
    """The error for a disk that takes no more."""
    what = "the disk is full" if error.errno in FULL else f"cannot be written ({error.strerror})"
    return InterruptedConversionError(
        f"{folder}: {what}. Make room, then convert again: it goes on where it stopped."
    )
