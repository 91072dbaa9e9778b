"""What of a checkpoint goes into memory: all of it, or all but routed experts, or it is refused."""

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_deepseek import models
from mlx_deepseek.checkpoint.engram_tables import TABLE
from mlx_deepseek.checkpoint.expert_files import EXPERTS, named_tensors
from mlx_deepseek.checkpoint.files import read_config
from mlx_deepseek.checkpoint.safetensors_header import DTYPES, TensorInfo
from mlx_deepseek.errors import ConfigError, MemoryLimitError
from mlx_deepseek.models.expert_memory import (
    CONTEXT_TOKENS,
    ModelMemory,
    capacities,
    drafts,
    memory_of,
)
from mlx_deepseek.models.sizes import cache_bytes_per_token
from mlx_deepseek.runtime import memory
from mlx_deepseek.runtime.device import compute_item_bytes
from mlx_deepseek.runtime.units import in_words, parse_size


@dataclass(frozen=True)
class Room:
    """Bytes of the weights in memory, and how many experts of a layer, by path, are among them.

    Layers that are not named have all of theirs in memory.
    """

    nbytes: int
    capacities: Mapping[str, int] = field(default_factory=dict)


def require_room(
    folder: Path,
    beside_bytes: int = 0,
    limit: str | int | None = None,
    item_bytes: int | None = None,
) -> Room:
    """How a checkpoint fits into memory, beside a page of context.

    `beside_bytes` are of what is in memory already, or to be loaded with it. `limit`, in bytes or
    as "48GB", is in place of this machine's memory; `item_bytes` as in `model_memory`.

    Raises:
        MemoryLimitError: it does not fit, even with experts on disk; the message says by how much.
        ConfigError: `limit` is no size.
        CheckpointError: files are missing or damaged.
    """
    needed, machine = loaded_bytes(folder, item_bytes), memory.machine_memory_bytes()
    allowed = machine if limit is None else limit_bytes(limit)
    usable = memory.fits(needed, 1, allowed, 1).usable_bytes
    if needed + beside_bytes <= usable:
        return Room(needed)
    streamed = with_experts_on_disk(folder, usable - beside_bytes, item_bytes)
    if streamed is not None:
        return streamed
    taken = f" beside {in_words(beside_bytes)} of other models" if beside_bytes else ""
    least = least_words(folder, item_bytes)
    whose = "this machine's" if limit is None else "the memory limit's"
    raise MemoryLimitError(
        f"{folder}: the weights take {in_words(needed)} in memory{taken}, {least}. "
        f"Expected at most {in_words(usable)} of {whose} {in_words(allowed)}; convert with fewer "
        "bits, choose a smaller model (`mlx-deepseek models`), or use a larger machine."
    )


def held_bytes() -> int:
    """Bytes that MLX holds, without those of engines that nobody holds any more."""
    gc.collect()
    return mx.get_active_memory()


def with_experts_on_disk(
    folder: Path, usable_bytes: int, item_bytes: int | None = None
) -> Room | None:
    """How a checkpoint fits into so many bytes with context; None: too few for one token."""
    found, context_bytes = model_memory(folder, item_bytes)
    chosen = capacities(found, usable_bytes - context_bytes)
    if not found.layers or chosen is None:
        return None
    return Room(found.held(chosen), chosen)


def least_words(folder: Path, item_bytes: int | None = None) -> str:
    """What a checkpoint takes at least, for a message."""
    found, context_bytes = model_memory(folder, item_bytes)
    if not found.layers:
        return "and none of them are routed experts of an MLX checkpoint, which could stay on disk"
    return f"{in_words(found.least_bytes + context_bytes)} with routed experts on disk"


def model_memory(folder: Path, item_bytes: int | None = None) -> tuple[ModelMemory, int]:
    """A checkpoint's bytes once loaded, from its headers, and those of some context.

    Without layers where no experts are stacked as MLX checkpoints have them. `item_bytes` are of a
    number that is computed with (None: as here).

    Raises:
        CheckpointError, ConfigError: files are missing, damaged or unknown.
    """
    item_bytes = item_bytes or compute_item_bytes()
    config, infos = read_config(folder), named_tensors(folder)
    stored = {name: info.nbytes for name, info in infos.items() if TABLE not in name}
    loaded = {name: tensor_bytes(infos[name], item_bytes) for name in stored}
    if not any(EXPERTS in name for name in loaded):
        return ModelMemory(sum(loaded.values()), 0, {}), 0
    if not any(drafts(name) for name in loaded):
        config = models.without_mtp(config)
    built: Any = models.build(config)
    per_token = cache_bytes_per_token(built, config, item_bytes)
    window = int(models.language_config(config).get("max_position_embeddings") or CONTEXT_TOKENS)
    return memory_of(built, loaded, stored), per_token * min(CONTEXT_TOKENS, window)


def loaded_bytes(folder: Path, item_bytes: int | None = None) -> int:
    """Bytes of a checkpoint's weights once loaded here, from the files' headers.

    `item_bytes` as in `model_memory`.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    infos, item_bytes = named_tensors(folder), item_bytes or compute_item_bytes()
    return sum(tensor_bytes(one, item_bytes) for name, one in infos.items() if TABLE not in name)


def tensor_bytes(info: TensorInfo, item_bytes: int) -> int:
    """Bytes of a tensor once loaded: floating values take at least `item_bytes` each."""
    stored = DTYPES[info.dtype]
    grown = max(item_bytes, stored.nbytes) / stored.nbytes if stored.is_float else 1
    return int(info.nbytes * grown)


def limit_bytes(limit: str | int) -> int:
    """Bytes of a memory limit, as 48 * 10**9 or "48GB".

    Raises:
        ConfigError: it is none.
    """
    if isinstance(limit, str):
        return parse_size(limit)
    if isinstance(limit, bool) or not hasattr(limit, "__index__") or int(limit) <= 0:
        raise ConfigError(f'memory is {limit!r:.60}. Expected bytes, or a text like "48GB".')
    return int(limit)
