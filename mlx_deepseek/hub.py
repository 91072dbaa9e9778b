"""Checkpoints from the Hugging Face hub, into its own cache: weights as safetensors, no code."""

import hashlib
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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

from mlx_deepseek.checkpoint import read_json
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.hub_progress import Report
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


class NotFoundError(CheckpointError):
    """No repository, or no revision of it, has this name."""


@dataclass(frozen=True)
class Listing:
    """What a model needs of one commit of a repository: files with their sizes and git ids.

    `checksums` are SHA-256, of the large files; `revision` is what was asked for.
    """

    repo: str
    revision: str | None
    commit: str
    sizes: Mapping[str, int]
    ids: Mapping[str, str]
    checksums: Mapping[str, str]

    def identity(self) -> str:
        """Stays from commit to commit while none of these files changes."""
        digest = hashlib.sha256(self.repo.encode())
        for name in sorted(self.sizes):
            content = self.checksums.get(name) or self.ids.get(name) or self.commit
            digest.update(f"\0{name}\0{self.sizes[name]}\0{content}".encode())
        return digest.hexdigest()


def listing(repo: str, revision: str | None = None) -> Listing:
    """Ask the hub for a repository's files.

    Raises:
        NotFoundError: no such repository or revision.
        CheckpointError: no access, no network, no safetensors.
    """
    try:
        info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
        raise explain(repo, revision, error) from error
    require_safetensors(repo, [file.rfilename for file in info.siblings or ()])
    files = [file for file in info.siblings or () if wanted(file.rfilename)]
    return Listing(
        repo,
        revision,
        info.sha or "main",
        sizes={file.rfilename: file.size or 0 for file in files},
        ids={file.rfilename: file.blob_id for file in files if file.blob_id},
        checksums={file.rfilename: file.lfs.sha256 for file in files if file.lfs is not None},
    )


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
        found = listing(repo, revision)
    except CheckpointError:
        folder = cached_snapshot(repo, revision)
        if folder is None:
            raise
        return folder
    total = sum(found.sizes.values())
    cached = sum(size for name, size in found.sizes.items() if is_cached(repo, name, found.commit))
    require_space(repo, total - cached)
    report = Report(progress, cached, total)
    try:
        folder = snapshot_download(
            repo, revision=revision, allow_patterns=list(WANTED), tqdm_class=report.bars()
        )
    except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
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
    except Exception as error:  # as above
        raise explain(repo, revision, error) from error
    return read_json(Path(path))


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
