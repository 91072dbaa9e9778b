"""Checkpoints from the Hugging Face hub, into its own cache: weights as safetensors, no code."""

import re
import shutil
import threading
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub import try_to_load_from_cache as cached_file
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import tqdm

from mlx_deepseek import catalog
from mlx_deepseek.checkpoint import read_json
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.models import known
from mlx_deepseek.progress import Progress

WANTED = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template*",
    "conversion.json",
    "LICENSE*",
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
SPARE_BYTES = 1 << 28  # left free on the disk
CACHE_FOLDER = re.compile(r"models--(.+?)--(.+)")


class NotFoundError(CheckpointError):
    """No repository, or no revision of it, has this name."""


def fetch(
    source: str | Path, revision: str | None = None, progress: Progress | None = None
) -> Path:
    """The folder of a checkpoint, downloaded if it is not yet in the hub's cache.

    Finished files are kept when a download breaks off; without network the cache is used alone.
    `revision` is a branch, tag or commit. `progress` is called from the downloading threads, one
    at a time, with "download" and bytes; a local folder is returned as it is.

    Raises:
        NotFoundError: no such repository or revision.
        CheckpointError: no name at all, no access, no network, no space, no safetensors.
    """
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser()
    repo = require_hub_id(source)
    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
        folder = cached_snapshot(repo, revision)
        if folder is None:
            raise explain(repo, revision, error) from error
        return folder
    files = {f.rfilename: f.size or 0 for f in info.siblings or () if wanted(f.rfilename)}
    require_safetensors(repo, [f.rfilename for f in info.siblings or ()])
    total = sum(files.values())
    cached = sum(size for name, size in files.items() if is_cached(repo, name, info.sha))
    require_space(repo, total - cached)
    report = Report(progress, cached, total)
    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=list(WANTED), tqdm_class=report.bars()
        )
    except Exception as error:  # as above
        raise explain(repo, revision, error) from error
    report.finish()
    return Path(folder)


def fetch_config(source: str | Path, revision: str | None = None) -> dict[str, Any]:
    """config.json alone, of a folder or a repository.

    Raises:
        NotFoundError: no such repository or revision.
        CheckpointError: no name at all, no access, no network, no config.json.
        ConfigError: it is not a JSON object.
    """
    if Path(source).expanduser().is_dir():
        return read_json(Path(source).expanduser() / "config.json")
    repo = require_hub_id(source)
    try:
        path = hf_hub_download(repo, "config.json", revision=revision, tqdm_class=Report().bars())
    except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
        raise explain(repo, revision, error) from error
    return read_json(Path(path))


def cached_models() -> list[str]:
    """Hub ids of DeepSeek checkpoints in the hub's cache which this version can load."""
    found = []
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*")):
        match = CACHE_FOLDER.fullmatch(folder.name)
        repo = "/".join(match.groups()) if match else ""
        if ("deepseek" in repo.lower() or catalog.find(repo)) and any(
            loadable(snapshot) for snapshot in folder.glob("snapshots/*")
        ):
            found.append(repo)
    return found


def loadable(folder: Path) -> bool:
    """Whether a folder has weights and the config of a known architecture."""
    try:
        config = read_json(folder / "config.json")
    except ConfigError:
        return False
    return known(config) and any(folder.glob("*.safetensors"))


def wanted(name: str) -> bool:
    """Whether a repository's file is one of those that are downloaded."""
    return any(fnmatch(name, pattern) for pattern in WANTED)


def is_cached(repo: str, name: str, commit: str | None) -> bool:
    """Whether one file of a commit is in the hub's cache."""
    return isinstance(cached_file(repo, name, revision=commit), str)


def cached_snapshot(repo: str, revision: str | None) -> Path | None:
    """A checkpoint's folder in the hub's cache, None if it is not there with weights."""
    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=list(WANTED), local_files_only=True
        )
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return Path(folder) if any(Path(folder).glob("*.safetensors")) else None


def require_hub_id(source: str | Path) -> str:
    """`source` as a hub id; CheckpointError when it cannot be one."""
    if isinstance(source, str) and HUB_ID.fullmatch(source):
        return source
    raise CheckpointError(
        f"{source}: tried as a folder, which does not exist, and as a hub id, which it is not. "
        "Expected a folder with config.json, or an id like 'deepseek-ai/DeepSeek-V2-Lite-Chat'."
    )


def require_safetensors(repo: str, names: Iterable[str]) -> None:
    """Raise CheckpointError for repositories without weights that are safe to read."""
    names = list(names)
    if any(name.endswith(".safetensors") for name in names):
        return
    if any(name.endswith(PICKLES) for name in names):
        what = "only pickled weights, which could run code when read"
    elif any(name.endswith(".gguf") for name in names):
        what = "only GGUF weights, which are another format"
    else:
        what = "no weights"
    raise CheckpointError(
        f"{repo}: has {what}. Expected *.safetensors; look for a conversion of it on the hub."
    )


def require_space(repo: str, nbytes: int) -> None:
    """Raise CheckpointError unless the disk of the hub's cache has room for `nbytes`."""
    folder = Path(constants.HF_HUB_CACHE).expanduser()
    disk = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(disk).free
    if nbytes + SPARE_BYTES > free:
        raise CheckpointError(
            f"{repo}: {nbytes / 1e9:.1f} GB are to be downloaded into {folder}, where "
            f"{free / 1e9:.1f} GB are free. Make room, or set HF_HUB_CACHE to another disk."
        )


def explain(repo: str, revision: str | None, error: Exception) -> CheckpointError:
    """The error that tells a user what to do about huggingface_hub's."""
    at = f"{repo} at revision {revision}" if revision else repo
    if isinstance(error, GatedRepoError):
        return CheckpointError(f"{at}: accept its terms on huggingface.co, then `hf auth login`.")
    if isinstance(error, RepositoryNotFoundError):
        return NotFoundError(f"{at}: the hub has no such model, or it is private. Check the name.")
    if isinstance(error, RevisionNotFoundError):
        return NotFoundError(f"{at}: no such revision. Expected a branch, a tag or a commit.")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return CheckpointError(f"{at}: a file is missing ({error}). Expected a whole checkpoint.")
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return CheckpointError(f"{at}: the hub answered with status {status}. Try again later.")
    first = (str(error).splitlines() or [""])[0]
    return CheckpointError(
        f"{at}: not whole in the cache, and the hub cannot be reached ({type(error).__name__}: "
        f"{first}). Check the network and HF_HUB_OFFLINE; what is downloaded will be kept."
    )


class Report:
    """Adds up bytes of parallel downloads; huggingface_hub reports them to progress bars only."""

    def __init__(self, progress: Progress | None = None, done: int = 0, total: int = 0):
        self.progress = progress
        self.cached, self.done, self.total = done, done, total
        self.lock = threading.Lock()

    def bars(self) -> type[tqdm]:
        """A class of bars that show nothing and report here."""
        report = self

        class Bar(tqdm):
            def __init__(self, *args: Any, **kwargs: Any):
                self.of_bytes = kwargs.get("unit") == "B"
                self.seen = 0.0
                super().__init__(*args, **{**kwargs, "disable": True})

            def update(self, n: float | None = 1) -> None:
                self.seen += n or 0
                if self.of_bytes:
                    report.advance(int(self.seen))

        return Bar

    def advance(self, downloaded: int) -> None:
        """Take the bar that is furthest: network and disk have one each."""
        with self.lock:
            done = min(self.cached + downloaded, self.total)
            if done > self.done:
                self.done = done
                if self.progress is not None:
                    self.progress("download", done, self.total)

    def finish(self) -> None:
        """Report the end, which for a cached checkpoint is the only report."""
        if self.progress is not None:
            self.progress("download", self.total, self.total)
