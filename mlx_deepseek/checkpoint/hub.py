"""Checkpoints from the Hugging Face hub, into its own cache: weights, tokenizer, no code."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelInfo, hf_hub_download, snapshot_download
from huggingface_hub import try_to_load_from_cache as cached_file
from huggingface_hub.errors import LocalEntryNotFoundError

from mlx_deepseek.checkpoint.files import PICKLE_INDEX, PICKLES, read_json, released_config
from mlx_deepseek.checkpoint.hub_errors import explain, require_pickles, require_space
from mlx_deepseek.checkpoint.hub_progress import DownloadProgress
from mlx_deepseek.checkpoint.repository import is_hub_id
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.runtime.progress import Progress

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
PICKLED_WEIGHTS = (PICKLES, PICKLE_INDEX)
TOKENIZER = (
    "tokenizer*.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
METADATA = (
    "config.json",
    "generation_config.json",
    *TOKENIZER,
    "chat_template*",
    "conversion.json",
    "LICENSE*",
)
# Writes the weights of `.bin` repositories as safetensors, into pull requests.
CONVERSION_BOT = "SFconvertbot"


@dataclass(frozen=True)
class Listing:
    """What a model needs of one commit of a repository: files with their sizes and git ids.

    `checksums` are SHA-256, of the large files; `revision` is what was asked for, `branch` what it
    stands for: a pull request, where only that has safetensors.
    """

    repo: str
    revision: str | None
    commit: str
    sizes: Mapping[str, int]
    ids: Mapping[str, str]
    checksums: Mapping[str, str]
    branch: str | None = None

    @property
    def is_pickled(self) -> bool:
        """Whether the weights are PyTorch's, not safetensors."""
        return not any(name.endswith(".safetensors") for name in self.sizes)

    def identity(self) -> str:
        """Stays from commit to commit while none of these files changes."""
        digest = hashlib.sha256(self.repo.encode())
        for name in sorted(self.sizes):
            content = self.checksums.get(name) or self.ids.get(name) or self.commit
            digest.update(f"\0{name}\0{self.sizes[name]}\0{content}".encode())
        return digest.hexdigest()


def listing(repo: str, revision: str | None = None) -> Listing:
    """Ask the hub for a repository's files; without safetensors, for those of its conversion.

    Raises:
        NotFoundError: no such repository or revision.
        CheckpointError: no access, no network, no weights that can be read.
    """
    info = _info(repo, revision)
    branch, files = revision, {file.rfilename: file for file in info.siblings or ()}
    weights = WEIGHTS
    if not any(name.endswith(".safetensors") for name in files):
        require_pickles(repo, files)
        weights = PICKLED_WEIGHTS
        if revision is None and (request := conversion_request(repo)) is not None:
            branch, info = request, _info(repo, request)
            files, weights = {file.rfilename: file for file in info.siblings or ()}, WEIGHTS
    patterns = (*weights, *METADATA)
    kept = {name: f for name, f in files.items() if any(fnmatch(name, p) for p in patterns)}
    return Listing(
        repo,
        revision,
        info.sha or "main",
        sizes={name: file.size or 0 for name, file in kept.items()},
        ids={name: file.blob_id for name, file in kept.items() if file.blob_id},
        checksums={name: file.lfs.sha256 for name, file in kept.items() if file.lfs is not None},
        branch=branch,
    )


def _info(repo: str, revision: str | None) -> ModelInfo:
    try:
        return HfApi().model_info(repo, revision=revision, files_metadata=True)
    except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
        raise explain(repo, revision, error) from error


def conversion_request(repo: str) -> str | None:
    """The pull request in which the hub's own program offers safetensors; None without one.

    Anyone may open others, with any weights; they are not looked at.
    """
    try:
        found = HfApi().get_repo_discussions(
            repo, author=CONVERSION_BOT, discussion_type="pull_request"
        )
        branches = [request.git_reference for request in found if request.author == CONVERSION_BOT]
        for branch in filter(None, branches):
            names = [file.rfilename for file in _info(repo, branch).siblings or ()]
            if any(name.endswith(".safetensors") for name in names):
                return branch
    except Exception:  # a repository may have discussions disabled; its pickles are read then
        return None
    return None


def fetch(
    source: str | Path | Listing, revision: str | None = None, progress: Progress | None = None
) -> Path:
    """The folder of a checkpoint, downloaded if it is not yet in the hub's cache.

    Finished files are kept when a download breaks off; without network the cache is used alone.
    `revision` is a branch, tag or commit. `progress` is called from the downloading threads, one
    at a time, with "download" and bytes; a local folder is returned as it is.

    Raises:
        NotFoundError: no such repository or revision.
        CheckpointError: no name at all, no access, no network, no space, no weights to read.
    """
    if not isinstance(source, Listing):
        if Path(source).expanduser().is_dir():
            return Path(source).expanduser()
        repo = require_hub_id(source)
        try:
            source = listing(repo, revision)
        except CheckpointError:
            folder = cached_snapshot(repo, revision)
            if folder is None:
                raise
            return folder
    return _downloaded(source, progress)


def _downloaded(found: Listing, progress: Progress | None) -> Path:
    repo, total = found.repo, sum(found.sizes.values())
    cached = sum(size for name, size in found.sizes.items() if is_cached(repo, name, found.commit))
    require_space(repo, total - cached)
    report = DownloadProgress(progress, cached, total)
    try:
        folder = snapshot_download(
            repo, revision=found.branch, allow_patterns=list(found.sizes), tqdm_class=report.bars()
        )
    except Exception as error:  # which HTTP library raises depends on huggingface_hub's version
        raise explain(repo, found.revision, error) from error
    report.finish()
    return Path(folder)


def fetch_file(found: Listing, name: str) -> Path:
    """One file of a listing, from the cache if it is there.

    Raises:
        CheckpointError: no network.
    """
    try:
        path = hf_hub_download(
            found.repo, name, revision=found.commit, tqdm_class=DownloadProgress().bars()
        )
    except Exception as error:  # as above
        raise explain(found.repo, found.revision, error) from error
    return Path(path)


def fetch_config(source: str | Path, revision: str | None = None) -> dict[str, Any]:
    """config.json alone, of a folder or a repository.

    Raises:
        NotFoundError: no such repository or revision.
        CheckpointError: no name at all, no access, no network, no config.json.
        ConfigError: it is not a JSON object.
    """
    if Path(source).expanduser().is_dir():
        return released_config(Path(source).expanduser())
    repo = require_hub_id(source)
    try:
        path = hf_hub_download(
            repo, "config.json", revision=revision, tqdm_class=DownloadProgress().bars()
        )
    except Exception as error:  # as above
        raise explain(repo, revision, error) from error
    return read_json(Path(path))


def is_cached(repo: str, name: str, commit: str | None) -> bool:
    """Whether one file of a commit is in the hub's cache."""
    return isinstance(cached_file(repo, name, revision=commit), str)


def cached_snapshot(repo: str, revision: str | None) -> Path | None:
    """A checkpoint's folder in the hub's cache, None if it is not there with weights."""
    for weights in (WEIGHTS, PICKLED_WEIGHTS):  # a repository may have both
        with suppress(LocalEntryNotFoundError, OSError, ValueError):
            folder = snapshot_download(
                repo, revision=revision, allow_patterns=[*weights, *METADATA], local_files_only=True
            )
            if has_weights(Path(folder)):
                return Path(folder)
    return None


def has_weights(folder: Path) -> bool:
    """Whether a folder holds weights that can be read."""
    patterns = (WEIGHTS[0], PICKLES)
    return any(path for pattern in patterns for path in folder.glob(pattern))


def require_hub_id(source: str | Path) -> str:
    """`source` as a hub id; CheckpointError when it cannot be one."""
    if isinstance(source, str) and is_hub_id(source):
        return source
    raise CheckpointError(
        f"{source}: tried as a folder, which does not exist, and as a hub id, which it is not. "
        "Expected a folder with config.json, or an id like 'deepseek-ai/DeepSeek-V2-Lite-Chat'."
    )
