"""Names of repositories on the hub: as users write them, and as folders on this disk show them."""

import json
import re
from pathlib import Path

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
CACHE_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")  # of huggingface_hub, and of conversions
RECORD = "conversion.json"  # written by the converter beside the weights


def is_hub_id(name: object) -> bool:
    """Whether a name can be that of a repository."""
    return isinstance(name, str) and HUB_ID.fullmatch(name) is not None


def repo_of(folder: Path) -> str | None:
    """Where a folder's weights come from: the converter's record, or the hub cache's folder."""
    try:
        note = json.loads((folder / RECORD).read_text(encoding="utf-8"))["source"]
        return note if is_hub_id(note) else None
    except (OSError, ValueError, KeyError, TypeError):
        return cached_repo(folder)


def cached_repo(folder: Path) -> str | None:
    """The repository whose folder in the hub's cache is `folder`, or holds it."""
    for part in reversed(folder.parts):
        if match := CACHE_FOLDER.fullmatch(part):
            return "/".join(match.groups())
    return None
