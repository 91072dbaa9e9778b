"""A conversation's prompt cache: what a new prompt shares with the last one is not read again."""

from collections.abc import Sequence
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache


class Drafter(Protocol):
    """What a cache must know of a drafter, which keeps caches of its own beside the model's."""

    # Tokens at the end of a shared prefix that the drafter must see again.
    lag: int

    def make_cache(self) -> list[Any]:
        """Empty caches."""
        ...


class PrefixStore(Protocol):
    """What a cache must know of a store of prefixes of earlier prompts."""

    def match(self, ids: Sequence[int]) -> int:
        """Tokens of the longest stored prefix of `ids`."""
        ...

    def restore(self, ids: Sequence[int], caches: Sequence[Any]) -> int:
        """Fill empty caches with it; returns its tokens, which may be fewer than promised."""
        ...

    def store(self, ids: Sequence[int], caches: Sequence[Any]) -> int:
        """Store what the caches hold of `ids`."""
        ...


class KeptCache:
    """A prompt cache and the tokens in it; for MLA models it holds R + P numbers per token.

    `ids` may run ahead of the caches by tokens that the model has not seen yet, and lag behind by
    drafts that nobody has asked for yet. With `bits` the caches are quantized.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        bits: int | None = None,
        drafter: Drafter | None = None,
        prefixes: PrefixStore | None = None,
    ):
        self.model = model
        self.bits = bits
        self.drafter = drafter
        self.prefixes = prefixes
        self.busy = False
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.ids: list[int] = []
        self.layers, self.drafts = self._empty()

    def prepare(self, ids: Sequence[int]) -> int:
        """Keep the longest common prefix with `ids`; returns its length, less than len(ids).

        It comes from the last prompt or from the store, whichever has more. The last token is
        always left to the model, which must see one to say what follows.
        """
        lag = self.drafter.lag if self.drafter else 0
        shared = max(0, min(common_prefix(self.ids, ids) - lag, self.held, len(ids) - 1))
        if shared and not can_trim_prompt_cache(self.caches):
            shared = 0
        if self.prefixes and self.prefixes.match(ids[:-1]) - lag > shared:
            layers, drafts = self._empty()
            restored = self.prefixes.restore(ids[:-1], [*layers, *drafts]) - lag
            if restored > shared:
                self.layers, self.drafts, shared = layers, drafts, restored
        if shared:
            trim(self.caches, shared)
        else:
            self.clear()
        for cache in self.caches:
            if hasattr(cache, "reserve"):  # mlx-lm's own grow in steps
                cache.reserve(len(ids))
        self.ids = list(ids)
        return shared

    def store(self) -> None:
        """Let later prompts find what this cache holds."""
        if self.prefixes is not None:
            self.prefixes.store(self.ids[: self.held], self.caches)

    @property
    def caches(self) -> list[Any]:
        """The model's caches, then the drafter's."""
        return [*self.layers, *self.drafts]

    @property
    def held(self) -> int:
        """Tokens that every cache holds."""
        return min(cache.offset for cache in self.caches)

    def evaluate(self) -> None:
        """Compute what the caches hold."""
        mx.eval([cache.state for cache in self.caches])

    def _empty(self) -> tuple[list[Any], list[Any]]:
        drafts = self.drafter.make_cache() if self.drafter else []
        return self._quantized(make_prompt_cache(self.model)), self._quantized(drafts)

    def _quantized(self, caches: list[Any]) -> list[Any]:
        if self.bits is None:
            return caches
        return [cache.to_quantized(bits=self.bits) for cache in caches]


def trim(caches: Sequence[Any], length: int) -> None:
    """Shorten each cache to `length` tokens."""
    for cache in caches:
        cache.trim(cache.offset - length)


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of leading elements that two sequences share."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
