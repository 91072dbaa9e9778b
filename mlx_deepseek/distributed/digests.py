"""Whether two machines have the same weights: digests of whole files, computed once."""

import hashlib
import json
import re
from pathlib import Path

from mlx_deepseek.checkpoint.conversion_cache import cache_folder
from mlx_deepseek.checkpoint.files import weight_files
from mlx_deepseek.runtime.whole_file import write_whole

HUB_BLOB = re.compile(r"[0-9a-f]{64}")  # the hub's cache calls a large file by its SHA-256
MOST_KNOWN = 4096


def weights_digest(folder: Path) -> str:
    """A digest of a checkpoint's config and weight files, whatever else is in the folder.

    Raises:
        CheckpointError: files are missing.
        OSError: a file cannot be read.
    """
    whole = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(weight_files(folder)):
        whole.update(f"\0{file.name}\0{file_digest(file)}".encode())
    return whole.hexdigest()


def file_digest(file: Path) -> str:
    """A file's SHA-256; of one that has not changed, as it was remembered."""
    real = file.resolve()
    if HUB_BLOB.fullmatch(real.name):
        return real.name
    status = real.stat()
    key = f"{real} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
    known = _known()
    if key not in known:
        with real.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        known = {**dict(list(_known().items())[-MOST_KNOWN:]), key: found}
        content = json.dumps(known).encode()
        write_whole(_memory(), lambda stream: stream.write(content))
    return known[key]


def _memory() -> Path:
    return cache_folder() / "digests.json"


def _known() -> dict[str, str]:
    try:
        return json.loads(_memory().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
