"""Conversions made on the way to loading: kept in a cache folder, made once, whole or not at all.

The folder is $MLX_DEEPSEEK_CACHE, else ~/.cache/mlx-deepseek, else one under the temporary folder.
"""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_deepseek.checkpoint.converter import OpenedSource, converter
from mlx_deepseek.checkpoint.repository import cached_repo
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.runtime.progress import Progress

if TYPE_CHECKING:
    from mlx_deepseek.checkpoint.hub import Listing  # brings huggingface_hub, slow to import


def convert_once(
    source: "Path | Listing",
    recipe: str,
    progress: Progress | None = None,
    opened: OpenedSource | None = None,
) -> Path:
    """The folder of `source` converted with `recipe`; a second call finds the first one's.

    A repository's files are on the disk only while they are converted, one after another. `opened`
    are its headers, where they have been read before.

    Raises:
        CheckpointError, ConfigError: the source cannot be converted, or the disk is too small.
    """
    target = folder_for(source, recipe)

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress("convert", done, total)

    if not is_whole(target):
        with locked(target.with_name(f"{target.name}.lock")):
            if not is_whole(target):  # another process may have been faster
                headers = opened or converter().open(source)
                converter().convert(headers, target, recipe, overwrite=True, progress=report)
    if not isinstance(source, Path):
        pointer(source.repo, source.revision, recipe).write_text(target.name, encoding="utf-8")
    return target


def is_converted(source: "Path | Listing", recipe: str) -> bool:
    """Whether `convert_once` would find what it has made before."""
    return is_whole(folder_for(source, recipe))


def latest(repo: str, revision: str | None, recipe: str) -> Path | None:
    """What a repository's revision was last converted to, if it is still there."""
    path = pointer(repo, revision, recipe)
    target = path.parent / path.read_text(encoding="utf-8") if path.is_file() else path
    return target if is_whole(target) else None


def conversions() -> list[Path]:
    """The folders of all conversions that are kept; none where the cache cannot be used."""
    try:
        return sorted(path.parent for path in cache_folder().glob("*/config.json"))
    except DeepSeekError:  # loading says so when it matters
        return []


def unfinished(repo: str, recipe: str) -> list[Path]:
    """The folders of conversions of a repository that broke off; asked again, they go on."""
    try:
        return sorted(cache_folder().glob(f"{readable(repo)}-{recipe}-*.partial"))
    except DeepSeekError:  # no folder, no conversions
        return []


def pointer(repo: str, revision: str | None, recipe: str) -> Path:
    """A file with the name of a revision's conversion: without network it cannot be computed."""
    name = f"{readable(repo)}-{recipe}-{revision or 'main'}".replace("/", "--")
    return cache_folder() / f"{name}.latest"


def folder_for(source: "Path | Listing", recipe: str) -> Path:
    """Where a conversion is kept."""
    if isinstance(source, Path):
        name, mark = readable(source), identity(source, recipe)
    else:
        key = f"{source.identity()}\0{recipe}\0{converter_version()}"
        name, mark = readable(source.repo), hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / f"{name}-{recipe}-{mark}"


def is_whole(target: Path) -> bool:
    """Whether a conversion is there: it appears when it is complete."""
    return (target / "config.json").is_file()


def identity(source: Path, recipe: str) -> str:
    """Changes when the checkpoint's files, the recipe or the converter's version do."""
    digest = hashlib.sha256(f"{source.resolve()}\0{recipe}\0{converter_version()}".encode())
    patterns = ("*.safetensors", "*.bin", "*.json", "*.jinja")
    for path in sorted(path for pattern in patterns for path in source.glob(pattern)):
        status = path.stat()
        digest.update(f"\0{path.name}\0{status.st_size}\0{status.st_mtime_ns}".encode())
        if path.suffix == ".safetensors":
            digest.update(header_bytes(path))
    return digest.hexdigest()[:16]


def header_bytes(path: Path) -> bytes:
    """The first part of a weight file, which names its tensors; at most 16 MB."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return file.read(min(length, 16_000_000))


def converter_version() -> str:
    """Which program's output a conversion is."""
    try:
        return version("mlx-deepseek")
    except PackageNotFoundError:
        return "source"


def readable(source: str | Path) -> str:
    """A name for people who look into the cache folder, of a checkpoint's folder or hub id."""
    if isinstance(source, str):
        name = source.replace("/", "--")
    else:
        parts = source.resolve().parts
        name = (cached_repo(source.resolve()) or parts[-1]).replace("/", "--")
        if name == "checkpoint" and len(parts) > 1:
            name = parts[-2]
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)[:80]


def cache_folder() -> Path:
    """A folder for conversions that can be written to.

    Raises:
        DeepSeekError: $MLX_DEEPSEEK_CACHE is set and cannot be written.
    """
    wanted = os.environ.get("MLX_DEEPSEEK_CACHE")
    if wanted:
        folder = Path(wanted).expanduser()
        if not writable(folder):
            raise DeepSeekError(
                f"{folder}: cannot be written. Set MLX_DEEPSEEK_CACHE to another folder."
            )
        return folder
    home = Path("~/.cache/mlx-deepseek").expanduser()
    if writable(home):
        return home
    spare = Path(tempfile.gettempdir()) / f"mlx-deepseek-{os.getuid()}"
    spare.mkdir(mode=0o700, exist_ok=True)
    status = spare.lstat()
    if not spare.is_dir() or spare.is_symlink() or status.st_uid != os.getuid():
        raise DeepSeekError(f"{spare}: belongs to someone else. Set MLX_DEEPSEEK_CACHE.")
    return spare


def writable(folder: Path) -> bool:
    """Whether files can be made in `folder`, which is created if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for other processes that hold `path`, then hold it."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
