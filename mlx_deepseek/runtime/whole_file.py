"""Files that appear whole or not at all."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import get_ident
from typing import Any, BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], Any], *, mode: int = 0o666) -> None:
    """Make the file `path` of what `write` writes; until it is on the disk, the old one stays.

    `mode` are its permissions, before the user's mask. Other threads and processes may do the same.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; nothing is left behind.
    """
    part = path.with_name(f".{os.getpid()}-{get_ident()}.tmp")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_text_whole(path: Path, text: str) -> None:
    """The same with a text, as UTF-8; halves of characters that a model wrote are replaced.

    Raises:
        OSError: as `write_whole`.
    """
    write_whole(path, lambda file: file.write(text.encode("utf-8", "replace")))
