"""Find a checkpoint that is to be read: a folder, an embedded model, or a repository on the hub."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlx_deepseek.checkpoint.files import released_config
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.runtime.progress import Progress
from mlx_deepseek_convert.source.checkpoint import Source, open_source

if TYPE_CHECKING:
    from mlx_deepseek.checkpoint.hub import Listing  # brings huggingface_hub, slow to import


def is_source(source: str | Path, revision: str | None = None) -> bool:
    """Whether a folder or repository holds a Hugging Face checkpoint rather than an MLX one.

    Raises:
        DeepSeekError: it holds no readable checkpoint at all.
    """
    folder = Path(source).expanduser()
    if folder.is_dir() and "quantization" in released_config(folder):
        return False
    return find_source(source, revision).is_release


def find_source(source: "str | Path | Listing | Source", revision: str | None = None) -> Source:
    """The source that is a folder, "nano", or on the hub, of which only headers are read.

    Raises:
        DeepSeekError: nothing has that name, or it is no checkpoint.
    """
    if isinstance(source, Source):
        return source
    if isinstance(source, str | Path) and Path(source).expanduser().is_dir():
        return open_source(Path(source).expanduser())
    from mlx_deepseek.checkpoint import hub, resolve  # brings huggingface_hub, slow to import
    from mlx_deepseek_convert.source.remote import open_remote

    if isinstance(source, hub.Listing):
        return open_remote(source)
    repo = resolve.hub_id(source)
    if repo is None:
        return open_source(resolve.locate(source).folder)
    try:
        listing = hub.listing(repo, revision)
    except CheckpointError:
        folder = hub.cached_snapshot(repo, revision)
        if folder is None:
            raise
        return open_source(folder)
    return open_remote(listing)


def locate(source: str | Path, progress: Progress | None = None) -> Path:
    """The folder of a checkpoint, given as folder, hub id (downloaded first) or "nano".

    Raises:
        DeepSeekError: nothing has that name, or the download fails.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    from mlx_deepseek.checkpoint import resolve  # brings huggingface_hub, slow to import

    return resolve.locate(source, progress=progress).folder
