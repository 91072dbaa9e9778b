"""What has been read already, so that the next run goes on: a folder for each job, whole files.

A page is done when its JSON exists: it is written last, and files appear whole or not at all.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.runtime.whole_file import write_whole
from mlx_deepseek.vision.image_file import Source, describe

JOB = "job.json"
NAME_CHARACTERS = 100


@dataclass(frozen=True)
class JobRecord:
    """What was read, and how; `digest` is of the source's content."""

    source: str
    digest: str
    model: str
    prompt: str
    mode: str | None


def job_for(source: Source, model: str, prompt: str, mode: str | None) -> JobRecord:
    """The job of reading a source; of one that cannot be opened, by its name."""
    return JobRecord(describe(source), digest(source), model, prompt, mode)


def digest(source: Source) -> str:
    """SHA-256 of a file or bytes; "" of what is neither."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    with suppress(OSError, ValueError, RuntimeError, TypeError):
        path = Path(source).expanduser()  # type: ignore[arg-type]
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return ""


def folder_for(root: Path, job: JobRecord) -> Path:
    """The job's folder, made if there is none; other jobs' are left alone.

    Raises:
        DeepSeekError: it cannot be written.
    """
    stem = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in _stem(job))
    stem = stem.strip(". ")[:NAME_CHARACTERS] or "document"
    number = 1
    while True:
        folder = root / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists():
            put_json(folder / JOB, asdict(job))
            return folder
        if _key(read_json(folder / JOB)) == _key(asdict(job)):
            return folder
        number += 1


def _key(job: Any) -> Any:
    """What two runs of a job have in common, wherever the source was found."""
    if not isinstance(job, dict):
        return None
    return job | {"source": Path(str(job.get("source"))).name}


def put(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """A file that appears whole; `write` gets it open.

    Raises:
        DeepSeekError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, write)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DeepSeekError(
            f"{path}: cannot be written ({reason}). Make room or choose another folder, then "
            "read again: it goes on where it stopped."
        ) from error


def put_text(path: Path, text: str) -> None:
    """A UTF-8 text file; halves of characters that a model wrote are replaced."""
    put(path, lambda file: file.write(text.encode("utf-8", "replace")))


def put_json(path: Path, content: object) -> None:
    """A JSON file for people and programs."""
    put_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file's content; None if there is none, or a damaged one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _stem(job: JobRecord) -> str:
    return Path(job.source).stem if job.source else ""
