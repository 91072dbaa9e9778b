"""Which models of the hub are on this machine: in the hub's cache, or converted from there."""

import re
from pathlib import Path

from huggingface_hub import constants

from mlx_deepseek import catalog
from mlx_deepseek.checkpoint import read_json
from mlx_deepseek.converted import conversions
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.models import known
from mlx_deepseek.sources import repo_of

CACHE_FOLDER = re.compile(r"models--(.+?)--(.+)")


def models_here() -> list[str]:
    """Hub ids of DeepSeek checkpoints that this version can load without a download."""
    return sorted({*cached_models(), *filter(None, map(repo_of, conversions()))})


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
