"""What a prompt takes from requests that are in the works: their caches, up to where it differs."""

from collections.abc import Iterable, Sequence
from typing import Any

from mlx_deepseek.cache.prompt_cache import PromptCache, common_prefix, reachable
from mlx_deepseek.generation.batch import DecodingBatch
from mlx_deepseek.generation.prefill import Prefill


def borrow(
    cache: PromptCache,
    ids: Sequence[int],
    least: int,
    batches: Iterable[DecodingBatch],
    readings: Iterable[Prefill],
) -> None:
    """Take a prompt's beginning from the request that has most of it, `least` tokens if any."""
    layers: Any = None
    holder: PromptCache | None = None
    for batch in batches:
        for row in batch.rows:
            shared = min(common_prefix(row.cache.ids, ids), row.length - 1, len(ids) - 1)
            if shared >= least and reachable(found := batch.copy(row), shared) == shared:
                layers, holder, least = found, row.cache, shared + 1
    for reading in readings:
        shared = min(reading.shared(ids), reading.position)
        if shared >= least and reachable(reading.cache.layers, shared) == shared:
            layers, holder, least = reading.cache.layers, reading.cache, shared + 1
    if holder is not None:
        adopt(cache, ids, layers, holder)


def adopt(cache: PromptCache, ids: Sequence[int], layers: Any, holder: PromptCache) -> None:
    """Go on from a running request's caches, which are copied once somebody writes to them."""
    cache.adopt(layers, holder.drafts, holder.ids)
    cache.source = "running"
    cache.nearest = common_prefix(holder.ids, ids), len(holder.ids)
