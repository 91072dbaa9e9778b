"""How an engine keeps prompts: quantized or not, with a drafter, with a store of prefixes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from mlx_deepseek.cache.blocks import marks_of
from mlx_deepseek.cache.prefix_cache import PrefixCache
from mlx_deepseek.cache.prompt_cache import PromptCache, common_prefix
from mlx_deepseek.cache.report import CacheRecords, CacheReport
from mlx_deepseek.cache.snapshots import Snapshots
from mlx_deepseek.checkpoint.conversion_cache import cache_folder, identity
from mlx_deepseek.checkpoint.load import Loaded
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.generation.drafting.drafter import Drafter
from mlx_deepseek.generation.drafting.dspark import DSparkDrafter
from mlx_deepseek.generation.drafting.mtp import MTPDrafter
from mlx_deepseek.generation.drafting.small_model import ModelDrafter
from mlx_deepseek.layers.latent_cache import BITS
from mlx_deepseek.models.sizes import cache_bytes_per_token
from mlx_deepseek.runtime import memory
from mlx_deepseek.runtime.device import compute_item_bytes

# Of the machine's memory, for prefixes of other conversations than the last.
PREFIX_FRACTION, PREFIX_BYTES_AT_MOST = 1 / 32, 2 << 30


@dataclass(frozen=True)
class Caching:
    """What an engine keeps of prompts, and how.

    `bits` (4 or 8; None: as computed) of the latent cache. `speculate` tokens are drafted at a
    time by the MTP layer or the draft model; None: as many as pay, 0: none. Blocks of
    earlier prompts take at most `prefix_bytes` of memory (None: 1/32 of the machine's, at most
    2 GiB; 0: none are kept) and, where there is a `prefix_folder`, 8 GiB on disk, across restarts.
    Whole caches of requests take as much once more; the last one is always kept.
    """

    bits: int | None = None
    speculate: int | None = None
    prefix_bytes: int | None = None
    prefix_folder: str | Path | None = None

    def __post_init__(self) -> None:
        if self.prefix_folder is not None and not isinstance(self.prefix_folder, (str, Path)):
            raise ConfigError(f"prefix_folder is {self.prefix_folder!r:.60}. Expected a folder.")
        for name in ("bits", "speculate", "prefix_bytes"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__")):
                raise ConfigError(f"{name} is {value!r:.60}. Expected a whole number, or None.")
        if self.bits is not None and self.bits not in BITS:
            expected = " or ".join(map(str, BITS))
            raise ConfigError(f"Cache bits are {self.bits}. Expected {expected}, or none.")
        if self.speculate is not None and self.speculate < 0:
            raise ConfigError(f"Drafts are {self.speculate} at a time. Expected 0 or more.")


class Caches:
    """Makes the caches of one loaded model; they share a drafter and the store of prefixes.

    `memory_bytes` are for all that MLX holds (None: this machine's). `plan` says which part of the
    model it is, where several machines hold one.

    Raises:
        ConfigError: the cache cannot be quantized, or the draft model has another vocabulary.
    """

    def __init__(
        self,
        loaded: Loaded,
        caching: Caching,
        draft: Loaded | None = None,
        memory_bytes: int | None = None,
        plan: str = "",
    ):
        self.model = loaded.model
        machine = memory.machine_memory_bytes() if memory_bytes is None else memory_bytes
        self._usable_bytes = memory.fits(0, 1, machine, 1).usable_bytes
        self._token_bytes = token_bytes(loaded, caching.bits)
        self.bits = caching.bits
        self.drafter = drafter(loaded, caching.speculate, draft)
        self.key = "/".join([key_of(loaded, caching, draft), *([plan] if plan else [])])
        self.prefixes = prefixes(loaded, caching, self.key)
        self.new()  # refuses what cannot be quantized
        self.snapshots = Snapshots(self.new, prefix_bytes(caching))
        self.records = CacheRecords()

    def take(self, ids: Sequence[int], wanted: PromptCache | None) -> PromptCache:
        """A cache for a prompt: the one that is wanted, unless it is in use; or the best there is.

        The best is an idle one that begins as the prompt does, else an empty one.
        """
        cache = self.snapshots.take(ids) if wanted is None or wanted.busy else wanted
        cache.busy, cache.source = True, "snapshot"
        if cache is wanted:
            cache.nearest = common_prefix(cache.ids, ids), len(cache.ids)
        cache.owned = cache is wanted
        return cache

    def give_back(self, cache: PromptCache) -> None:
        """Nobody uses it any more."""
        cache.busy = False
        if not cache.owned:
            self.snapshots.give_back(cache)

    def free_tokens(self) -> int:
        """Tokens for which there is memory beside all that is held now."""
        return max(0, self._usable_bytes - mx.get_active_memory()) // self._token_bytes

    def report(self) -> CacheReport:
        """What of the newest prompts came from a cache, and what is kept."""
        blocks = self.prefixes
        return CacheReport(
            records=tuple(self.records),
            snapshots=len(self.snapshots.idle),
            snapshot_bytes=self.snapshots.nbytes,
            block_bytes=blocks.memory_nbytes if blocks else 0,
            folder_bytes=blocks.folder_nbytes if blocks else 0,
        )

    def new(self) -> PromptCache:
        """An empty cache for one conversation."""
        return PromptCache(self.model, bits=self.bits, drafter=self.drafter, prefixes=self.prefixes)


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
        model: Any = loaded.model
        blocks = model.args.drafting is not None
        return (DSparkDrafter if blocks else MTPDrafter)(model, speculate)
    return None


def token_bytes(loaded: Loaded, bits: int | None) -> int:
    """Bytes of one token in the caches of all layers; scales of quantized ones are rounded up."""
    item_bytes = compute_item_bytes()
    found = cache_bytes_per_token(loaded.model, loaded.config, item_bytes)
    return max(1, found if bits is None else found * (bits + 2) // (8 * item_bytes))


def vocabulary(loaded: Loaded) -> Any:
    """Tokens by text, and how many the model tells apart; None without a tokenizer."""
    return loaded.tokenizer and loaded.tokenizer.get_vocab()


def key_of(loaded: Loaded, caching: Caching, draft: Loaded | None) -> str:
    """What caches depend on: other caches say nothing to this model."""
    models = [loaded] if draft is None else [loaded, draft]
    names = [identity(model.folder, f"{model.dtype}{model.adapter}") for model in models]
    return "/".join([*names, f"bits {caching.bits}", f"drafts {caching.speculate != 0}"])


def prefixes(loaded: Loaded, caching: Caching, key: str) -> PrefixCache | None:
    """The store of the model's prefixes."""
    room = prefix_bytes(caching)
    if not room and caching.prefix_folder is None:
        return None
    folder = None if caching.prefix_folder is None else Path(caching.prefix_folder)
    parts = structure(loaded.model)

    def applies() -> bool:  # no longer once the model has adapters, for example
        return structure(loaded.model) == parts

    marked = bool(marks_of(make_prompt_cache(loaded.model)))
    return PrefixCache(key, memory_bytes=room, folder=folder, applies=applies, marked=marked)


def prefix_bytes(caching: Caching) -> int:
    """Memory for blocks of prefixes, and once more for snapshots."""
    if caching.prefix_bytes is not None:
        return caching.prefix_bytes
    return min(int(memory.machine_memory_bytes() * PREFIX_FRACTION), PREFIX_BYTES_AT_MOST)


def prefix_folder() -> Path:
    """Where prefixes are kept on disk, for those who want it."""
    return cache_folder() / "prefixes"


def structure(model: nn.Module) -> str:
    """A digest of the kinds and names of a model's parts."""
    parts = (f"{path}:{type(module).__name__}" for path, module in model.named_modules())
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
