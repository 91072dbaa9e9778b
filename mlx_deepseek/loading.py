"""From what the user named to a model in memory with its tokenizer and prompt format."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.tokenizer_utils import load as load_tokenizer_files

from mlx_deepseek import catalog, embedded, hub, models, prompts
from mlx_deepseek.checkpoint import load_model, load_source, read_config
from mlx_deepseek.converted import DEFAULT_RECIPE, convert_once, is_converted, latest
from mlx_deepseek.converters import converter
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.memory import require_room
from mlx_deepseek.progress import Progress
from mlx_deepseek.sources import Located, hub_id, locate

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
# Where config.json says nothing.
DEFAULT_CONTEXT = 4096


@dataclass(frozen=True)
class Loaded:
    """Everything an Engine is made of; no tokenizer where the checkpoint has none."""

    name: str
    folder: Path
    config: dict[str, Any]
    model: nn.Module
    tokenizer: TokenizerWrapper | None
    prompt_format: prompts.PromptFormat
    entry: catalog.Entry | None
    context_length: int
    suggestions: tuple[str, ...]
    dtype: str | None = None


@dataclass(frozen=True)
class Prepared:
    """Weights on this disk that fit into memory; `exact`: of a release, to be loaded as they are.

    `nbytes` are what they take in memory.
    """

    found: Located
    exact: bool
    dtype: str | None
    nbytes: int


def load_everything(
    source: str | Path,
    *,
    recipe: str | None,
    dtype: str | None,
    revision: str | None,
    progress: Progress | None,
) -> Loaded:
    """As `mlx_deepseek.load` describes; call it on the thread that will compute.

    Raises:
        DeepSeekError: as `mlx_deepseek.load`.
    """
    return load_prepared(prepare(source, recipe, dtype, revision, progress))


def prepare(
    source: str | Path,
    recipe: str | None,
    dtype: str | None,
    revision: str | None,
    progress: Progress | None,
) -> Prepared:
    """The part of a load that takes minutes: downloads and converts where that is still to do.

    Raises:
        DeepSeekError: as `mlx_deepseek.load`.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}. Expected one of {', '.join(DTYPES)}.")
    kind = DTYPES[dtype] if dtype else None
    found, exact = find_weights(source, recipe, kind, revision, progress)
    return Prepared(found, exact, dtype, require_room(found.folder))


def load_prepared(prepared: Prepared) -> Loaded:
    """The rest of it; call it on the thread that will compute.

    Raises:
        DeepSeekError: as `mlx_deepseek.load`.
    """
    found, folder = prepared.found, prepared.found.folder
    kind = DTYPES[prepared.dtype] if prepared.dtype else None
    if prepared.exact:
        assert kind is not None
        model, config = load_source(folder, kind)
    else:
        model, config = load_model(folder, dtype=kind)
    tokenizer = load_tokenizer(folder, config)
    return Loaded(
        name=found.name,
        folder=folder,
        config=config,
        model=model,
        tokenizer=tokenizer,
        prompt_format=prompts.for_checkpoint(
            config, tokenizer_config(folder), found.repo, models.architecture(config)
        ),
        entry=found.entry,
        context_length=context_length(config, found.entry),
        suggestions=suggestions(found),
        dtype=prepared.dtype,
    )


def find_weights(
    source: str | Path,
    recipe: str | None,
    dtype: mx.Dtype | None,
    revision: str | None,
    progress: Progress | None,
) -> tuple[Located, bool]:
    """What to load, and whether it is a Hugging Face checkpoint to be loaded unquantized.

    Raises:
        DeepSeekError: as `locate`, or a recipe for a checkpoint that is quantized already.
    """
    repo = None if Path(source).expanduser().is_dir() else hub_id(source)
    if repo is not None and (recipe is not None or dtype is None):
        folder = streamed(repo, revision, recipe, progress)
        if folder is not None:
            return Located(folder, repo, repo, catalog.find(repo)), False
    found = locate(source, revision, progress)
    quantized = "quantization" in read_config(found.folder)
    require_unquantized(found.name, quantized, recipe)
    if recipe is None:
        if quantized or not converter().is_source(found.folder):
            return found, False
        if dtype is not None:
            return found, True
        recipe = "bf16" if found.name in embedded.FOLDERS else DEFAULT_RECIPE
    return replace(found, folder=convert_once(found.folder, recipe, progress)), False


def streamed(
    repo: str, revision: str | None, recipe: str | None, progress: Progress | None
) -> Path | None:
    """The conversion of a checkpoint on the hub, which is not downloaded as a whole.

    None where it has to be: it is an MLX checkpoint already, or the hub cannot be asked.

    Raises:
        DeepSeekError: as `find_weights`.
    """
    chosen = recipe or DEFAULT_RECIPE
    try:
        listing = hub.listing(repo, revision)
    except CheckpointError:
        return latest(repo, revision, chosen)
    quantized = "quantization" in hub.fetch_config(repo, listing.commit)
    require_unquantized(repo, quantized, recipe)
    known = recipe is not None or (not quantized and is_converted(listing, chosen))
    if not known and (quantized or not converter().is_source(repo, listing.commit)):
        return None
    return convert_once(listing, chosen, progress)


def require_unquantized(name: str, quantized: bool, recipe: str | None) -> None:
    """Raise CheckpointError for a recipe that came too late."""
    if recipe is not None and quantized:
        raise CheckpointError(
            f"{name}: is quantized already, recipe {recipe!r} cannot be applied. Load it "
            "without a recipe, or start from the original checkpoint."
        )


def load_tokenizer(folder: Path, config: dict[str, Any]) -> TokenizerWrapper | None:
    """mlx-lm's wrapper of the checkpoint's tokenizer, None without one; runs no foreign code.

    Raises:
        CheckpointError: the files are damaged.
    """
    if not (folder / "tokenizer.json").is_file():
        return None
    try:
        return load_tokenizer_files(folder, eos_token_ids=config.get("eos_token_id"))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(
            f"{folder / 'tokenizer.json'}: cannot be read ({error}). Download it again."
        ) from error


def tokenizer_config(folder: Path) -> dict[str, Any] | None:
    """tokenizer_config.json with the chat template, which may be a file of its own."""
    path = folder / "tokenizer_config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise ConfigError(f"{path}: not readable as JSON ({error}). Download it again.") from error
    template = folder / "chat_template.jinja"
    if template.is_file():
        content["chat_template"] = template.read_text(encoding="utf-8")
    return content or None


def context_length(config: dict[str, Any], entry: catalog.Entry | None) -> int:
    """The window in tokens: the catalog's, else config.json's.

    V2-Lite's file says 163,840 where its authors promise 32,768.
    """
    published = entry.context_length if entry is not None else None
    text = models.language_config(config)
    return int(published or text.get("max_position_embeddings") or DEFAULT_CONTEXT)


def suggestions(found: Located) -> tuple[str, ...]:
    """Starter prompts that the model can answer."""
    return embedded.SUGGESTIONS.get(found.name, GENERAL)


GENERAL = (
    "Explain the difference between a list and a tuple in Python.",
    "Write a haiku about the sea in autumn.",
    "What is the derivative of x^3 sin(x)?",
)
