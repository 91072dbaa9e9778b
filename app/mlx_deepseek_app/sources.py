"""Which models the picker offers: built-in ones, the Hugging Face cache's, converted folders."""

import json
import re
from pathlib import Path

from mlx_deepseek.converted import cache_folder
from mlx_deepseek.embedded import FOLDERS
from mlx_deepseek.errors import DeepSeekError

MODEL_TYPES = ("deepseek", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_vl_v2")


def choices(current: str = "") -> list[tuple[str, str]]:
    """(label, source) pairs for the picker, without touching the network."""
    found = {name: f"{name} (built in, offline)" for name in FOLDERS}
    for repo in cached_repos(_hub_cache()):
        found.setdefault(repo, f"{repo} (downloaded)")
    for folder in _converted():
        name, _, fingerprint = folder.name.rpartition("-")
        label = name if re.fullmatch(r"[0-9a-f]{8,}", fingerprint) else folder.name
        if not label.startswith("nano-"):  # made from the built-in checkpoint
            found.setdefault(str(folder), f"{label.replace('--', '/')} (converted)")
    if current:
        found.setdefault(current, current)
    return [(label, source) for source, label in found.items()]


def cached_repos(cache: Path) -> list[str]:
    """Hub ids of downloaded models that look like ours, from the cache's folder names."""
    repos = []
    for folder in sorted(cache.glob("models--*--*")):
        for config in folder.glob("snapshots/*/config.json"):
            weights = config.parent.glob("*.safetensors")
            if _is_ours(config, folder.name) and any(weights):
                repos.append(folder.name.removeprefix("models--").replace("--", "/", 1))
                break
    return repos


def folders(root: Path) -> list[Path]:
    """Model folders directly under `root`."""
    found = (path.parent for path in root.glob("*/config.json"))
    return sorted(folder for folder in found if any(folder.glob("*.safetensors")))


def _is_ours(config: Path, name: str) -> bool:
    try:
        model_type = json.loads(config.read_text()).get("model_type", "")
    except (OSError, ValueError):
        return False
    return model_type in MODEL_TYPES or "deepseek" in name.lower()


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def _converted() -> list[Path]:
    try:
        return folders(cache_folder())
    except DeepSeekError:  # unusable: loading will say so when it matters
        return []
