"""A prompt cache as a file: a document or a system prompt that is read once and asked often."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek.errors import CheckpointError, ConfigError, PromptError
from mlx_deepseek.runtime.whole_file import write_whole

FORMAT = "mlx-deepseek prompt cache 1"


def save_cache(cache: PromptCache, path: Path, key: str) -> None:
    """Write a cache and its tokens, whole or not at all; `key` says which model's it is.

    Raises:
        PromptError: it is empty, or in use.
        ConfigError: this architecture's caches cannot be written.
        OSError: the disk is full, or the folder cannot be written to.
    """
    if cache.busy or not cache.ids or not cache.cached_tokens:
        raise PromptError("The prompt cache is empty or in use. Generate with it to the end first.")
    _check_kinds(cache)
    arrays: dict[str, mx.array] = {}
    others: dict[str, Any] = {}  # numbers, and arrays of width 0, which the format does not have
    for place, layer in enumerate(cache.caches):
        leaves: Any = tree_flatten(layer.state)
        for name, value in leaves:
            name = f"{place}.{name}"
            if not isinstance(value, mx.array):
                others[name] = value
            elif value.size:
                arrays[name] = _used(value, layer.offset)
            else:
                shape = [*value.shape[:-2], layer.offset, value.shape[-1]]
                others[name] = {"shape": shape, "dtype": str(value.dtype).rpartition(".")[2]}
    metadata = {
        "format": FORMAT,
        "model": key,
        "kinds": _kinds(cache),
        "ids": json.dumps(cache.ids),
        "others": json.dumps(others),
    }
    mx.eval(arrays)
    write_whole(path, lambda file: mx.save_safetensors(file, arrays, metadata), mode=0o600)


def fill_cache(cache: PromptCache, path: Path, key: str) -> None:
    """Put what `save_cache` wrote into an empty cache.

    Raises:
        CheckpointError: the file is missing or damaged, or is of another version or model.
        ConfigError: as `save_cache`.
    """
    _check_kinds(cache)
    read_header(path)  # names the damage
    loaded: Any = mx.load(str(path), format="safetensors", return_metadata=True)
    arrays, metadata = loaded
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: no prompt cache of this version. Make it anew.")
    if (metadata.get("model"), metadata.get("kinds")) != (key, _kinds(cache)):
        raise CheckpointError(
            f"{path}: a prompt cache of another model, or with other settings (dtype, adapter, "
            "cache bits, drafts). Load what it was made with, or make it anew."
        )
    try:
        ids = [int(token) for token in json.loads(metadata["ids"])]
        others = json.loads(metadata["others"])
        for place, layer in enumerate(cache.caches):
            layer.state = tree_unflatten(_leaves(arrays, others, f"{place}."))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise CheckpointError(f"{path}: a damaged prompt cache ({error}). Make it anew.") from error
    cache.ids = ids
    cache.evaluate()


def _leaves(arrays: dict[str, mx.array], others: dict[str, Any], start: str) -> list[Any]:
    """Names and values of one layer's state, in the order in which they were written."""
    empty = {
        name: mx.zeros(value["shape"], getattr(mx, value["dtype"]))
        for name, value in others.items()
        if isinstance(value, dict)
    }
    every = {**others, **empty, **arrays}
    return [(n.removeprefix(start), v) for n, v in sorted(every.items()) if n.startswith(start)]


def _used(array: mx.array, tokens: int) -> mx.array:
    """An array without the room that it has to grow."""
    return array[..., :tokens, :] if array.ndim == 4 else array


def _kinds(cache: PromptCache) -> str:
    return " ".join(type(layer).__name__ for layer in cache.caches)


def _check_kinds(cache: PromptCache) -> None:
    for layer in cache.caches:
        if getattr(type(layer).state, "fset", None) is None:
            raise ConfigError(
                "Prompt caches of this architecture cannot be saved by name. Load the model with "
                "ds.Caching(prefix_folder=...), which keeps what was read on the disk."
            )
