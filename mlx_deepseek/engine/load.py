"""From a model's name to an engine that generates."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import load_adapters

from mlx_deepseek.checkpoint.load import Loaded, Prepared, item_bytes, load_prepared, prepare
from mlx_deepseek.checkpoint.load_weights import evaluate
from mlx_deepseek.checkpoint.room import held_bytes, limit_bytes, require_room
from mlx_deepseek.distributed import Group, load_split
from mlx_deepseek.engine.caching import Caches, Caching, prefix_bytes
from mlx_deepseek.engine.engine import Engine
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.layers.streamed_experts import traffic
from mlx_deepseek.runtime.compute_thread import preparing_worker, shared_worker
from mlx_deepseek.runtime.progress import Progress


def load(
    source: str | Path,
    *,
    recipe: str | None = None,
    dtype: str | None = None,
    revision: str | None = None,
    caching: Caching | None = None,
    draft: str | Path | None = None,
    adapter: str | Path | None = None,
    memory: str | int | None = None,
    hosts: "str | Path | Group | None" = None,
    split: str = "pipeline",
    progress: Progress | None = None,
) -> "Engine":
    """Load "nano", an MLX folder, a Hugging Face folder, or a hub id.

    A Hugging Face checkpoint is converted once into the cache, with `recipe` or the default one;
    `dtype` without `recipe` computes with its own, unquantized values instead. `caching` says how
    prompts are kept and whether tokens are drafted, `draft` names a smaller model that drafts,
    `adapter` a folder with an adapter that mlx-lm has trained for this model.

    `memory`, in bytes or as "48GB", is what weights and context may take; None: what this machine
    has. Routed experts that do not fit stay on disk and are read when tokens choose them: slower,
    with the same results.

    `hosts` is a file that names several machines, which hold the model together: whole layers each
    (`split` "pipeline"), or a share of every layer ("tensor"). `memory` then is this machine's.

    `progress` is called with what is done ("download", "convert", "load") and bytes done and in
    total; "load" comes once, on the caller's thread, before weights are read: other engines that
    are closed then make room, else more experts stay on disk. Other engines go on
    computing while this one is downloaded and converted.

    Raises:
        CheckpointError, ConfigError: the checkpoint is damaged, unknown or incomplete.
        MemoryLimitError: its weights, and the draft model's, do not fit into memory.
        HostsError: another machine cannot be reached, or has other versions or weights.
        DeepSeekError: not found, no network, no space.
    """
    for name, value in (("source", source), ("draft", draft), ("adapter", adapter)):
        if not isinstance(value, (str, Path)) and (value is not None or name == "source"):
            raise ConfigError(f"load: {name} is {value!r:.60}. Expected a name or a folder.")
    worker, group = shared_worker(), Group.of(hosts)
    limit = None if memory is None else limit_bytes(memory)
    caching = caching or Caching()

    def prepared(name: str | Path, revision: str | None = None, alone: bool = True) -> Prepared:
        limits = (memory, alone)
        return preparing_worker().call(prepare, name, recipe, dtype, revision, progress, *limits)

    wanted = prepared(source, revision, alone=group is None)
    drafting = prepared(draft) if draft is not None else None
    beside = drafting.room.nbytes if drafting is not None else 0
    if progress is not None:
        progress("load", 0, wanted.room.nbytes + beside)

    def work() -> Engine:
        # Only now: whoever was told of the load may have closed other engines.
        if group is not None:
            return on_several(group)
        taken, each = beside + held_bytes(), item_bytes(dtype)
        room = require_room(wanted.found.folder, taken, memory, each)
        loaded = load_prepared(replace(wanted, room=room))
        if adapter is not None:
            loaded = with_adapter(loaded, Path(adapter).expanduser())
        smaller = load_prepared(drafting) if drafting is not None else None
        return Engine(loaded, worker, Caches(loaded, caching, smaller, limit))

    def on_several(group: Group) -> Engine:
        if adapter is not None:
            raise ConfigError(
                "An adapter cannot be put into a model on several machines. Merge it."
            )
        smaller = load_prepared(drafting) if drafting is not None else None
        asked = {"source": elsewhere(source), "recipe": recipe, "dtype": dtype}
        loaded, followers, plan = load_split(
            group,
            wanted,
            split,
            memory=memory,
            asked=asked | {"revision": revision},
            prefixes=(prefix_bytes(caching), caching.prefix_folder),
        )
        return Engine(loaded, worker, Caches(loaded, caching, smaller, limit, plan), followers)

    return worker.call(work)


def elsewhere(source: str | Path) -> str:
    """A model's name for another machine: a folder with its whole path."""
    folder = Path(source).expanduser()
    return str(folder.resolve()) if folder.is_dir() else str(source)


def with_adapter(loaded: Loaded, folder: Path) -> Loaded:
    """A loaded model with an adapter's layers in it; prompts are stored apart from the model's.

    Raises:
        CheckpointError: the folder has none, or one for another model.
    """
    weights = folder / "adapters.safetensors"
    experts_on_disk = traffic(loaded.model) is not None
    try:
        digest = hashlib.blake2b(weights.read_bytes(), digest_size=8).hexdigest()
        load_adapters(loaded.model, str(folder))
        evaluate(loaded.model)  # pending arrays cannot leave this thread
        known: Any = dict(tree_flatten(loaded.model.parameters()))
        tensors: Any = mx.load(str(weights))
        alien = sorted(set(tensors) - set(known))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder}: no adapter for {loaded.name} ({error}). Expected adapter_config.json and "
            "adapters.safetensors as `mlx_lm lora` writes them."
        ) from error
    if alien:
        raise CheckpointError(
            f"{folder}: the adapter has {len(alien)} tensors that {loaded.name} has not, e.g. "
            f"{alien[0]}. Expected an adapter that was trained on this model."
        )
    if experts_on_disk and any(".switch_mlp." in name for name in tensors):
        raise CheckpointError(
            f"{folder}: the adapter changes routed experts, and some of {loaded.name}'s stay on "
            "disk. Expected all in memory: give it more memory, or merge the adapter with "
            "`mlx-deepseek convert --adapter`."
        )
    return replace(loaded, adapter=digest)
