"""What a user may call a model: an embedded one, a folder, a hub id, a name from the catalog."""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from mlx_deepseek import catalog, hub
from mlx_deepseek.embedded import FOLDERS
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.progress import Progress

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HUB_FOLDER = re.compile(r"models--([^/]+?)--([^/]+)")


@dataclass(frozen=True)
class Located:
    """A checkpoint's folder, what to call it, its repository if known, its catalog entry if any."""

    folder: Path
    name: str
    repo: str | None = None
    entry: catalog.Entry | None = None


def locate(
    source: str | Path, revision: str | None = None, progress: Progress | None = None
) -> Located:
    """Find a model, and download it if it is on the hub.

    Raises:
        DeepSeekError: nothing has that name (it says which names are close), or no download.
    """
    if isinstance(source, str) and source in FOLDERS:
        return Located(FOLDERS[source], source)
    path = Path(source).expanduser()
    if str(source) and path.is_dir():
        name = path.resolve().name
        repo = repo_of(path.absolute())
        return Located(path, repo or name, repo, catalog.find(repo or name))
    repo = hub_id(source)
    if repo is None:
        expected = " or ".join(map(repr, FOLDERS))
        raise DeepSeekError(
            f"{source}: no such folder or model. Expected {expected}, a folder with config.json, "
            f"or a hub id like 'deepseek-ai/DeepSeek-V2-Lite-Chat'. {hint(str(source))}"
        )
    try:
        folder = hub.fetch(repo, revision, progress)
    except hub.NotFoundError as error:
        raise DeepSeekError(f"{error} {hint(repo)}") from error
    return Located(folder, repo, repo, catalog.find(repo))


def hub_id(source: str | Path) -> str | None:
    """The repository that a hub id or a catalog's name means; None for everything else."""
    if not isinstance(source, str):
        return None
    if HUB_ID.fullmatch(source) and not source.startswith("."):
        return source
    entry = catalog.find(source)
    return entry.repo if entry is not None and entry.name.lower() == source.lower() else None


def hint(source: str) -> str:
    """Which known names resemble `source`."""
    close = catalog.suggest(source)
    close = difflib.get_close_matches(source.lower(), FOLDERS, n=1, cutoff=0.6) + close
    listed = "`mlx-deepseek models` lists the known ones."
    return f"Did you mean {' or '.join(close)}? {listed}" if close else listed


def repo_of(folder: Path) -> str | None:
    """Where weights come from: the converter's note, or the name of the hub cache's folder."""
    try:
        note = json.loads((folder / "conversion.json").read_text(encoding="utf-8"))["source"]
        return note if isinstance(note, str) and HUB_ID.fullmatch(note) else None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    for part in reversed(folder.parts):
        if match := HUB_FOLDER.fullmatch(part):
            return "/".join(match.groups())
    return None
