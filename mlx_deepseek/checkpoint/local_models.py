"""Which models are on this disk, for everybody who lists them: commands and the app.

`local_models()` gives them all, each as what `load` takes. `cached_models` and `models_here` are
their hub ids; `conversions` and `unfinished` of `conversion_cache` are the folders behind them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import constants

from mlx_deepseek import catalog
from mlx_deepseek.catalog.embedded import FOLDERS
from mlx_deepseek.checkpoint.conversion_cache import conversions
from mlx_deepseek.checkpoint.files import read_json
from mlx_deepseek.checkpoint.hub import has_weights
from mlx_deepseek.checkpoint.repository import cached_repo, repo_of
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.models import known


@dataclass(frozen=True)
class LocalModel:
    """A model that loads without network: `source` is what `load` takes.

    `repo` is its repository, if known; of a conversion, the one that it was made of.
    """

    source: str
    folder: Path
    kind: Literal["embedded", "downloaded", "converted"]
    repo: str | None = None


def local_models() -> list[LocalModel]:
    """The embedded models, DeepSeek checkpoints in the hub's cache, and kept conversions."""
    embedded = [LocalModel(name, folder, "embedded") for name, folder in FOLDERS.items()]
    converted = [
        LocalModel(str(folder), folder, "converted", repo_of(folder))
        for folder in conversions()
        if has_weights(folder)
    ]
    return [*embedded, *_downloaded(), *converted]


def models_here() -> list[str]:
    """Hub ids of DeepSeek checkpoints that this version can load without a download."""
    return sorted({*cached_models(), *filter(None, map(repo_of, conversions()))})


def cached_models() -> list[str]:
    """Hub ids of DeepSeek checkpoints in the hub's cache which this version can load."""
    return [model.source for model in _downloaded()]


def _downloaded() -> Iterator[LocalModel]:
    for folder in sorted(Path(constants.HF_HUB_CACHE).glob("models--*--*")):
        repo = cached_repo(folder) or ""
        if "deepseek" not in repo.lower() and not catalog.find(repo):
            continue
        whole = next(filter(loadable, folder.glob("snapshots/*")), None)
        if whole is not None:
            yield LocalModel(repo, whole, "downloaded", repo)


def loadable(folder: Path) -> bool:
    """Whether a folder has weights and the config of a known architecture."""
    try:
        config = read_json(folder / "config.json")
    except ConfigError:
        return False
    return known(config) and has_weights(folder)
