"""A conversation's prompt cache: what a new prompt shares with the last one is not read again."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Protocol

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.cache import KVCache, can_trim_prompt_cache, make_prompt_cache

from mlx_deepseek.cache.prefix_cache import PrefixCache
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.vision.picture_slots import whole_before

GROUP_SIZES = (64, 32)


class CachingDrafter(Protocol):
    """What a cache must know of a drafter, which keeps caches of its own beside the model's."""

    lookback: int  # tokens at the end of a shared prefix that the drafter must see again

    def make_cache(self) -> list[Any]:
        """Empty caches."""
        ...


class PromptCache:
    """A prompt cache and the tokens in it; for MLA models it holds R + P numbers per token.

    `ids` may run ahead of the caches by tokens that the model has not seen yet, and lag behind by
    drafts that nobody has asked for yet. With `bits` the caches are quantized.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        bits: int | None = None,
        drafter: CachingDrafter | None = None,
        prefixes: PrefixCache | None = None,
    ):
        self.model = model
        self.bits = bits
        self.drafter = drafter
        self.prefixes = prefixes
        self.busy, self.owned = False, False  # in use; by whom it was made
        # For reports: of the known prompt that is most like this one, tokens in common and in all;
        # and what the cached tokens are of.
        self.nearest, self.source = (0, 0), ""
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
        lookback, shared = self.lookback, self.shared(ids)
        if self.prefixes and self.prefixes.match(ids[:-1]) - lookback > shared:
            layers, drafts = self._empty()
            restored = self.prefixes.restore(ids[:-1], [*layers, *drafts]) - lookback
            restored = place_to_cut(ids, [*layers, *drafts], max(restored, 0))
            if restored > shared:
                self.layers, self.drafts, shared = layers, drafts, restored
                self.source = "blocks"
        if shared:
            trim(self.caches, shared)
        else:
            self.clear()
        for cache in self.caches:
            if hasattr(cache, "reserve"):  # mlx-lm's own grow in steps
                cache.reserve(len(ids))
        self.ids = list(ids)
        return shared

    def reusable(self, ids: Sequence[int]) -> int:
        """What `prepare` would return, as far as one can tell without doing it."""
        stored = self.prefixes.match(ids[:-1]) - self.lookback if self.prefixes else 0
        return max(self.shared(ids), stored)

    def adopt(self, layers: Sequence[Any], drafts: Sequence[Any], ids: Sequence[int]) -> None:
        """Go on from copies of another request's caches, which hold `ids`, in place of its own."""
        self.layers, self.drafts = deepcopy(list(layers)), deepcopy(list(drafts))
        self.ids = list(ids)

    def release(self) -> list[Any]:
        """Hand over the model's caches, to become rows of a batch."""
        layers, self.layers = self.layers, []
        return layers

    def store(self) -> None:
        """Let later prompts find what this cache holds."""
        if self.prefixes is not None:
            self.prefixes.store(self.ids[: self.cached_tokens], self.caches)

    @property
    def lookback(self) -> int:
        """Tokens at the end of a shared prefix that must be read again."""
        return self.drafter.lookback if self.drafter else 0

    def shared(self, ids: Sequence[int]) -> int:
        """Tokens that it has in common with a prompt, and can go back to."""
        common = common_prefix(self.ids, ids) - self.lookback
        shared = max(0, min(common, self.cached_tokens, len(ids) - 1))
        if shared and not can_trim_prompt_cache(self.caches):
            return 0
        return place_to_cut(ids, self.caches, shared)

    @property
    def nbytes(self) -> int:
        """Bytes held, room to grow included."""
        return sum(cache.nbytes for cache in self.caches)

    @property
    def caches(self) -> list[Any]:
        """The model's caches, then the drafter's."""
        return [*self.layers, *self.drafts]

    @property
    def cached_tokens(self) -> int:
        """Tokens that every cache holds."""
        return min(cache.offset for cache in self.caches)

    def evaluate(self) -> None:
        """Compute what the caches hold."""
        mx.eval([cache.state for cache in self.caches])

    def _empty(self) -> tuple[list[Any], list[Any]]:
        layers = empty_caches(self.model, self.bits)
        if self.drafter is None:
            return layers, []
        model = getattr(self.drafter, "model", None)
        return layers, quantized(self.drafter.make_cache(), self.bits, model)


def empty_caches(model: Any, bits: int | None) -> list[Any]:
    """A model's caches before the first token."""
    return quantized(make_prompt_cache(model), bits, model)


def quantized(caches: list[Any], bits: int | None, model: Any) -> list[Any]:
    """The same caches of so many bits."""
    if bits is None:
        return caches
    return [
        cache.to_quantized(group_size=group_size(cache, model, i), bits=bits)
        for i, cache in enumerate(caches)
    ]


def group_size(cache: Any, model: Any, layer: int) -> int:
    """Numbers that share a scale where a layer's keys and values are quantized.

    Raises:
        ConfigError: its heads do not divide into such groups.
    """
    if type(cache) is not KVCache:  # ours know their own widths
        return GROUP_SIZES[0]
    attention = model.layers[layer].self_attn
    heads = getattr(attention, "n_kv_heads", None) or attention.config.kv_heads
    width = attention.k_proj.weight.shape[0] // heads
    for size in GROUP_SIZES:
        if width % size == 0:
            return size
    raise ConfigError(
        f"The cache cannot be quantized: heads of {width} numbers do not divide into groups of "
        f"{GROUP_SIZES[-1]}. Load the model without cache bits."
    )


def trim(caches: Sequence[Any], length: int) -> None:
    """Shorten each cache to `length` tokens."""
    for cache in caches:
        cache.trim(cache.offset - length)


def reachable(caches: Sequence[Any], length: int) -> int:
    """The longest prefix, of at most `length` tokens, that every cache can go back to."""
    reaching = [cache for cache in caches if hasattr(cache, "reach")]  # others reach everywhere
    while length != (least := min([length, *(cache.reach(length) for cache in reaching)])):
        length = least
    return length


def place_to_cut(ids: Sequence[int], caches: Sequence[Any], length: int) -> int:
    """As `reachable`, where a prompt may be cut: in no picture that is read in one piece."""
    while length != (least := whole_before(ids, reachable(caches, length))):
        length = least
    return length


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of leading elements that two sequences share."""
    a, b = list(a), list(b)
    low, end, step = 0, min(len(a), len(b)), 64
    while low < end and a[low : low + step] == b[low : low + step]:
        low, step = low + step, 2 * step
    high = min(low + step, end)
    low = min(low, end)
    while low < high:  # slices are compared faster than elements
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
