"""What a user is told when the hub cannot give a checkpoint, and what to do about it."""

import shutil
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mlx_deepseek.checkpoint.files import PICKLES
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.runtime.units import in_words

SPARE_BYTES = 1 << 28  # left free on the disk


class NotFoundError(CheckpointError):
    """No repository, or no revision of it, has this name."""


def require_pickles(repo: str, names: Iterable[str]) -> None:
    """Raise CheckpointError for repositories without safetensors or PyTorch's own files."""
    names = list(names)
    if any(fnmatch(name, PICKLES) for name in names):
        return
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names):
        what = "only pickled weights that are not named pytorch_model*.bin"
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
            f"{repo}: {in_words(nbytes)} are to be downloaded into {folder}, where "
            f"{in_words(free)} are free. Make room, or set HF_HUB_CACHE to another disk."
        )


def explain(repo: str, revision: str | None, error: Exception) -> CheckpointError:
    """The error that tells a user what to do about huggingface_hub's."""
    at = f"{repo} at revision {revision}" if revision else repo
    if isinstance(error, GatedRepoError):
        return CheckpointError(f"{at}: accept its terms on huggingface.co, then `hf auth login`.")
    if isinstance(error, RepositoryNotFoundError):
        return NotFoundError(
            f"{at}: the hub has no such model, or it is private; here is no such folder. Check the "
            "name."
        )
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
