"""Caches that requests leave behind, whole and to the token, for those that begin alike.

Blocks of the store serve any prefix, 256 tokens at a time; a snapshot goes on exactly where its
request has ended, and is all there is of caches that blocks cannot hold (V4's).
"""

from collections.abc import Callable, Sequence

from mlx_deepseek.cache.blocks import BLOCK
from mlx_deepseek.cache.prompt_cache import PromptCache, common_prefix

MOST = 64


class Snapshots:
    """Idle caches, least recently used first; the last one stays whatever it takes.

    All others together take at most `limit_bytes`.
    """

    def __init__(self, new: Callable[[], PromptCache], limit_bytes: int):
        self._new = new
        self._limit_bytes = limit_bytes
        self.idle: list[PromptCache] = []

    @property
    def nbytes(self) -> int:
        """Bytes of the idle caches."""
        return sum(cache.nbytes for cache in self.idle)

    def take(self, ids: Sequence[int]) -> PromptCache:
        """The cache from which a prompt goes on best, else an empty one; it is idle no longer.

        One that would lose much of its end stays, and a copy is given.
        """
        newest = list(reversed(self.idle))
        best = max(newest, key=lambda one: one.shared(ids), default=None)
        nearest = max(newest, key=lambda one: common_prefix(one.ids, ids), default=None)
        shared = best.shared(ids) if best is not None else 0
        if best is None or not shared or best.reusable(ids) > shared:
            cache = self._new()
        elif best.cached_tokens - shared >= BLOCK:
            cache = self._new()
            cache.adopt(best.layers, best.drafts, best.ids)
            self._touch(best)
        else:
            cache = best
            self.idle.remove(best)
        if nearest is not None:
            cache.nearest = common_prefix(nearest.ids, ids), len(nearest.ids)
        return cache

    def give_back(self, cache: PromptCache) -> None:
        """Keep a cache, and forget the oldest ones that do not fit beside it."""
        self.idle = [one for one in self.idle if one is not cache]
        if cache.ids and cache.cached_tokens:
            self.idle.append(cache)
        while len(self.idle) > 1 and (
            len(self.idle) > MOST or self.nbytes - self.idle[-1].nbytes > self._limit_bytes
        ):
            self.idle.pop(0)

    def _touch(self, cache: PromptCache) -> None:
        self.idle.remove(cache)
        self.idle.append(cache)
