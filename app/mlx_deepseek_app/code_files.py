"""Source files around the one that is completed: what is read of them, what fits the prompt."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

FILES_AT_MOST = 50
FILE_BYTES_AT_MOST = 1 << 20


@dataclass(frozen=True)
class SourceFile:
    """A file's name and its text."""

    path: str
    text: str


def read_files(paths: Sequence[str]) -> tuple[list[SourceFile], list[str]]:
    """The files that are text and not too large, and what is wrong with the others."""
    files, wrong = [], []
    for path in map(Path, paths[:FILES_AT_MOST]):
        if path.stat().st_size > FILE_BYTES_AT_MOST:
            wrong.append(f"{path.name} is larger than {FILE_BYTES_AT_MOST >> 20} MiB.")
            continue
        try:
            files.append(SourceFile(path.name, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            wrong.append(f"{path.name} is not text in UTF-8.")
    if len(paths) > FILES_AT_MOST:
        wrong.append(f"{len(paths)} files at once. Only the first {FILES_AT_MOST} are read.")
    return files, wrong


def fitting(
    files: Iterable[SourceFile], room: int, count: Callable[[str], int]
) -> tuple[list[SourceFile], list[str]]:
    """Files whose tokens, as `count` says, fit into `room` in this order; the others' names."""
    kept, left_out = [], []
    for file in files:
        need = count(f"#{file.path}\n{file.text}\n\n")
        if need > room:
            left_out.append(file.path)
            continue
        room -= need
        kept.append(file)
    return kept, left_out
