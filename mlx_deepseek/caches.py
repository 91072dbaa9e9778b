"""How an engine keeps prompts: quantized or not, with a drafter, with a store of prefixes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.nn as nn

from mlx_deepseek.cache import Drafter, KeptCache
from mlx_deepseek.converted import cache_folder, identity
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.latent_cache import BITS
from mlx_deepseek.loading import Loaded
from mlx_deepseek.memory import machine_memory_bytes
from mlx_deepseek.prefix_cache import PrefixCache
from mlx_deepseek.speculate import ModelDrafter, MTPDrafter

# Of the machine's memory, for prefixes of other conversations than the last.
PREFIX_FRACTION, PREFIX_BYTES_AT_MOST = 1 / 32, 2 << 30


@dataclass(frozen=True)
class Caching:
    """What an engine keeps of prompts, and how.

    `bits` (4 or 8; None: as computed) of the latent cache. `speculate` tokens are drafted at a
    time by the MTP layer or the draft model; None: as many as pay, 0: none. Prefixes of earlier
    prompts take at most `prefix_bytes` of memory (None: 1/32 of the machine's, at most 2 GiB; 0:
    none are kept) and, where there is a `prefix_folder`, 8 GiB on disk, across restarts.
    """

    bits: int | None = None
    speculate: int | None = None
    prefix_bytes: int | None = None
    prefix_folder: Path | None = None

    def __post_init__(self) -> None:
        if self.bits is not None and self.bits not in BITS:
            expected = " or ".join(map(str, BITS))
            raise ConfigError(f"Cache bits are {self.bits}. Expected {expected}, or none.")
        if self.speculate is not None and self.speculate < 0:
            raise ConfigError(f"Drafts are {self.speculate} at a time. Expected 0 or more.")


class Caches:
    """Makes the caches of one loaded model; they share a drafter and the store of prefixes.

    Raises:
        ConfigError: the cache cannot be quantized, or the draft model has another vocabulary.
    """

    def __init__(self, loaded: Loaded, caching: Caching, draft: Loaded | None = None):
        self.model = loaded.model
        self.bits = caching.bits
        self.drafter = drafter(loaded, caching.speculate, draft)
        self.prefixes = prefixes(loaded, caching, draft)
        self.new()  # refuses what cannot be quantized

    def new(self) -> KeptCache:
        """An empty cache for one conversation."""
        return KeptCache(self.model, bits=self.bits, drafter=self.drafter, prefixes=self.prefixes)


def drafter(loaded: Loaded, speculate: int | None, draft: Loaded | None) -> Drafter | None:
    """The draft model, else the model's own MTP layer, if any is wanted."""
    if draft is not None:
        if vocabulary(draft) != vocabulary(loaded):
            raise ConfigError(
                f"{draft.name} cannot draft for {loaded.name}: its vocabulary is another one. "
                "Expected a smaller model of the same family."
            )
        return ModelDrafter(draft.model, speculate) if speculate != 0 else None
    if speculate != 0 and "mtp" in loaded.model:
        return MTPDrafter(loaded.model, speculate)
    return None


def vocabulary(loaded: Loaded) -> Any:
    """Tokens by text, and how many the model tells apart; None without a tokenizer."""
    return loaded.tokenizer and loaded.tokenizer.get_vocab()


def prefixes(loaded: Loaded, caching: Caching, draft: Loaded | None) -> "Prefixes | None":
    """The store of the model's prefixes."""
    room = caching.prefix_bytes
    if room is None:
        room = min(int(machine_memory_bytes() * PREFIX_FRACTION), PREFIX_BYTES_AT_MOST)
    if not room and caching.prefix_folder is None:
        return None
    models = [loaded] if draft is None else [loaded, draft]
    names = [identity(model.folder, f"{model.dtype}") for model in models]
    key = "/".join([*names, f"bits {caching.bits}", f"drafts {caching.speculate != 0}"])
    store = PrefixCache(key, memory_bytes=room, folder=caching.prefix_folder)
    return Prefixes(store, loaded.model)


def prefix_folder() -> Path:
    """Where prefixes are kept on disk, for those who want it."""
    return cache_folder() / "prefixes"


class Prefixes:
    """A store that holds its peace once the model is another one, with adapters for example."""

    def __init__(self, store: PrefixCache, model: nn.Module):
        self.store_ = store
        self.model = model
        self.loaded = structure(model)

    def match(self, ids: Sequence[int]) -> int:
        """As `PrefixCache.match`."""
        return self.store_.match(ids) if structure(self.model) == self.loaded else 0

    def restore(self, ids: Sequence[int], caches: Sequence[Any]) -> int:
        """As `PrefixCache.restore`."""
        return self.store_.restore(ids, caches)

    def store(self, ids: Sequence[int], caches: Sequence[Any]) -> int:
        """As `PrefixCache.store`."""
        return self.store_.store(ids, caches) if structure(self.model) == self.loaded else 0


def structure(model: nn.Module) -> str:
    """A digest of the kinds and names of a model's parts."""
    parts = (f"{path}:{type(module).__name__}" for path, module in model.named_modules())
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
