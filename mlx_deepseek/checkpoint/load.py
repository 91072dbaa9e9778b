"""From what the user named to a model in memory with its tokenizer and prompt format.

The way of a model: resolve -> source | conversion (`prepare`), then read -> build -> fill -> place
(`load_prepared`, by load_weights.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek import catalog, models, prompts
from mlx_deepseek.catalog import embedded
from mlx_deepseek.checkpoint.converter import OpenedSource
from mlx_deepseek.checkpoint.load_weights import PartOf, load_model, load_source
from mlx_deepseek.checkpoint.resolve import Release, ResolvedModel, obtain, resolve
from mlx_deepseek.checkpoint.room import Room, loaded_bytes, require_room
from mlx_deepseek.checkpoint.tokenizer import Tokenizer, load_tokenizer
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.prompts import format
from mlx_deepseek.runtime.progress import Progress

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
    tokenizer: Tokenizer | None
    prompt_format: format.PromptFormat
    entry: catalog.Entry | None
    context_length: int
    suggestions: tuple[str, ...]
    dtype: str | None = None
    adapter: str = ""  # a digest of the one that was put in


@dataclass(frozen=True)
class Prepared:
    """Weights on this disk that fit into memory, as `room` says.

    `release`: they are a release's, to be computed with as they are.
    """

    found: ResolvedModel
    release: OpenedSource | None
    dtype: str | None
    room: Room


def prepare(
    source: str | Path,
    recipe: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    progress: Progress | None = None,
    memory: str | int | None = None,
    alone: bool = True,
) -> Prepared:
    """The part of a load that takes minutes: downloads and converts where that is still to do.

    Not `alone`, this machine need not have room for all of it.

    Raises:
        DeepSeekError: as `mlx_deepseek.load`.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"dtype is {dtype!r}. Expected one of {', '.join(DTYPES)}.")
    found = resolve(
        source, recipe, as_it_is=dtype is not None, revision=revision, progress=progress
    )
    model = obtain(found, progress)
    release = found.source if isinstance(found, Release) and found.recipe is None else None
    each = item_bytes(dtype)
    room = Room(loaded_bytes(model.folder, each))
    if alone:
        room = require_room(model.folder, limit=memory, item_bytes=each)
    return Prepared(model, release, dtype, room)


def item_bytes(dtype: str | None) -> int | None:
    """Bytes of a number in a data type by its name; None: as this machine computes."""
    return None if dtype is None else DTYPES[dtype].size


def load_part(
    prepared: Prepared, part: PartOf | None, capacities: Mapping[str, int]
) -> tuple[nn.Module, dict[str, Any]]:
    """A part of a model, as `place` says, or all of it; and its config.

    Raises:
        DeepSeekError: as `mlx_deepseek.load`.
    """
    folder, dtype = prepared.found.folder, prepared.dtype
    if prepared.release is not None:
        return load_source(folder, DTYPES[str(dtype)], prepared.release, part)
    kind = DTYPES[dtype] if dtype else None
    return load_model(folder, dtype=kind, capacities=capacities, part=part)


def load_prepared(
    prepared: Prepared, part: PartOf | None = None, capacities: Mapping[str, int] | None = None
) -> Loaded:
    """The rest of it: read, build, fill, place. Call it on the thread that will compute.

    `capacities` are in place of those of `prepared`, where this is a part of a model.

    Raises:
        DeepSeekError: as `mlx_deepseek.load`.
    """
    found, folder = prepared.found, prepared.found.folder
    held = prepared.room.capacities if capacities is None else capacities
    model, config = load_part(prepared, part, held)
    models.require_language(model, found.name)
    tokenizer = load_tokenizer(folder, config)
    prompt_format = prompts.for_checkpoint(
        config, tokenizer and tokenizer.settings, found.repo, models.architecture(config)
    )
    return Loaded(
        name=found.name,
        folder=folder,
        config=config,
        model=model,
        tokenizer=tokenizer,
        prompt_format=prompts.with_picture_token(prompt_format, config, tokenizer),
        entry=found.entry,
        context_length=context_length(config, found.entry),
        suggestions=suggestions(found),
        dtype=prepared.dtype,
    )


def context_length(config: dict[str, Any], entry: catalog.Entry | None) -> int:
    """The window in tokens: the catalog's, else config.json's.

    V2-Lite's file says 163,840 where its authors promise 32,768.
    """
    published = entry.context_length if entry is not None else None
    text = models.language_config(config)
    return int(published or text.get("max_position_embeddings") or DEFAULT_CONTEXT)


def suggestions(found: ResolvedModel) -> tuple[str, ...]:
    """Starter prompts that the model can answer."""
    return embedded.SUGGESTIONS.get(found.name, GENERAL)


GENERAL = (
    "Explain the difference between a list and a tuple in Python.",
    "Write a haiku about the sea in autumn.",
    "What is the derivative of x^3 sin(x)?",
)
