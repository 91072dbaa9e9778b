"""What a user may call a model, and where its weights are.

A name is an embedded model's, a folder, a hub id or a name from the catalog. Its weights are ready
to be read (`Ready`), converted already (`Converted`), or a release (`Release`), which is converted
first or computed with as it is.
"""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_deepseek import catalog
from mlx_deepseek.catalog import embedded
from mlx_deepseek.catalog.embedded import FOLDERS
from mlx_deepseek.checkpoint import hub, hub_errors
from mlx_deepseek.checkpoint.conversion_cache import convert_once, is_converted, latest
from mlx_deepseek.checkpoint.conversion_cache import folder_for as conversion_folder
from mlx_deepseek.checkpoint.converter import DEFAULT_RECIPE, OpenedSource, converter
from mlx_deepseek.checkpoint.files import read_config, require_folder
from mlx_deepseek.checkpoint.repository import is_hub_id, repo_of
from mlx_deepseek.errors import CheckpointError, DeepSeekError
from mlx_deepseek.runtime.progress import Progress


@dataclass(frozen=True)
class ResolvedModel:
    """A checkpoint's folder, what to call it, its repository if known, its catalog entry if any."""

    folder: Path
    name: str
    repo: str | None = None
    entry: catalog.Entry | None = None


@dataclass(frozen=True)
class Ready:
    """An MLX checkpoint, in a folder or still to be downloaded."""

    model: ResolvedModel
    listing: hub.Listing | None = None


@dataclass(frozen=True)
class Converted:
    """A release of which the cache has a conversion: `model.folder`."""

    model: ResolvedModel


@dataclass(frozen=True)
class Release:
    """A release with its headers read; to be converted with `recipe`, or as it is (None)."""

    model: ResolvedModel
    source: OpenedSource
    recipe: str | None
    listing: hub.Listing | None = None


def resolve(
    name: str | Path,
    recipe: str | None = None,
    *,
    as_it_is: bool = False,
    revision: str | None = None,
    progress: Progress | None = None,
) -> Ready | Converted | Release:
    """Where the weights of a model are; at most small files and headers are read for it.

    With `as_it_is`, and for `.bin` weights, whose headers are in the midst of them, the files are
    downloaded.

    Raises:
        DeepSeekError: nothing has that name, it is damaged, or a recipe comes too late.
    """
    repo = None if Path(name).expanduser().is_dir() else hub_id(name)
    if repo is not None and (recipe is not None or not as_it_is):
        found = _on_the_hub(repo, recipe, revision, progress)
        if found is not None:
            return found
    return _here(locate(name, revision, progress), recipe, as_it_is=as_it_is)


def _here(
    found: ResolvedModel, recipe: str | None, *, as_it_is: bool
) -> Ready | Converted | Release:
    quantized = "quantization" in read_config(found.folder)
    require_unquantized(found.name, quantized, recipe)
    if quantized:
        return Ready(found)
    chosen = recipe or ("bf16" if found.name in embedded.FOLDERS else DEFAULT_RECIPE)
    exact = as_it_is and recipe is None
    if not exact and is_converted(found.folder, chosen):
        return Converted(replace(found, folder=conversion_folder(found.folder, chosen)))
    source = converter().open(found.folder)
    if recipe is None and not source.is_release:
        return Ready(found)
    return Release(found, source, None if exact else chosen)


def _on_the_hub(
    repo: str, recipe: str | None, revision: str | None, progress: Progress | None
) -> Ready | Converted | Release | None:
    """None where only the hub's cache can help."""
    chosen = recipe or DEFAULT_RECIPE
    model = ResolvedModel(Path(repo), repo, repo, catalog.find(repo))
    try:
        listing = hub.listing(repo, revision)
    except CheckpointError:
        folder = latest(repo, revision, chosen)
        return None if folder is None else Converted(replace(model, folder=folder))
    if is_converted(listing, chosen):
        return Converted(replace(model, folder=convert_once(listing, chosen)))
    config = read_config(hub.fetch_file(listing, "config.json").parent)
    require_unquantized(repo, "quantization" in config, recipe)
    if "quantization" in config:
        return Ready(model, listing)
    if listing.is_pickled:
        hub.fetch(listing, progress=progress)
    source = converter().open(listing)
    if recipe is None and not source.is_release:
        return Ready(model, listing)
    return Release(model, source, chosen, listing)


def obtain(found: Ready | Converted | Release, progress: Progress | None = None) -> ResolvedModel:
    """The model with its folder: converted, where it is to be, or downloaded.

    Raises:
        DeepSeekError: no network, no space, or the release cannot be converted.
    """
    if isinstance(found, Release) and found.recipe is not None:
        key = found.listing or found.model.folder
        folder = convert_once(key, found.recipe, progress, found.source)
        return replace(found.model, folder=folder)
    if isinstance(found, Ready) and found.listing is not None:
        return replace(found.model, folder=hub.fetch(found.listing, progress=progress))
    return found.model


def require_unquantized(name: str, quantized: bool, recipe: str | None) -> None:
    """Raise CheckpointError for a recipe that came too late."""
    if recipe is not None and quantized:
        raise CheckpointError(
            f"{name}: is quantized already, recipe {recipe!r} cannot be applied. Load it "
            "without a recipe, or start from the original checkpoint."
        )


def locate(
    name: str | Path, revision: str | None = None, progress: Progress | None = None
) -> ResolvedModel:
    """Find a model, and download it if it is on the hub.

    Raises:
        DeepSeekError: nothing has that name (it says which names are close), or no download.
    """
    if isinstance(name, str) and name in FOLDERS:
        return ResolvedModel(FOLDERS[name], name)
    path = Path(name).expanduser()
    if str(name) and path.is_dir():
        repo = repo_of(path.absolute())
        called = repo or path.resolve().name
        return ResolvedModel(path, called, repo, catalog.find(called))
    repo = hub_id(name)
    if repo is None:
        expected = " or ".join(map(repr, FOLDERS))
        raise DeepSeekError(
            f"{name}: no such folder or model. Expected {expected}, a folder with config.json, "
            f"or a hub id like 'deepseek-ai/DeepSeek-V2-Lite-Chat'. {hint(str(name))}"
        )
    try:
        folder = hub.fetch(repo, revision, progress)
    except hub_errors.NotFoundError as error:
        raise DeepSeekError(f"{error} {hint(repo)}") from error
    return ResolvedModel(folder, repo, repo, catalog.find(repo))


def hub_id(name: str | Path) -> str | None:
    """The repository that a hub id or a catalog's name means; None for everything else.

    Raises:
        CheckpointError: a file has that name.
    """
    if name in FOLDERS:
        return None
    if name and Path(name).expanduser().exists() and not Path(name).expanduser().is_dir():
        require_folder(Path(name).expanduser())
    if not isinstance(name, str):
        return None
    if is_hub_id(name):
        return name
    entry = catalog.find(name)
    return entry.repo if entry is not None and entry.name.lower() == name.lower() else None


def hint(name: str) -> str:
    """Which known names resemble `name`."""
    close = catalog.suggest(name)
    close = difflib.get_close_matches(name.lower(), FOLDERS, n=1, cutoff=0.6) + close
    listed = "`mlx-deepseek models` lists the known ones."
    return f"Did you mean {' or '.join(close)}? {listed}" if close else listed
