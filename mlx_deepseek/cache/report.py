"""What of each prompt came from a cache, and why not more: for those who watch."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mlx_deepseek.cache.prompt_cache import PromptCache

Missed = Literal["", "new", "differs", "evicted", "unreachable"]
MOST = 128


@dataclass(frozen=True)
class CacheRecord:
    """Of request `number`, `cached_tokens` of `prompt_tokens` were not read again.

    `source` is where they came from: "snapshot" (a request that has ended), "running" (one that
    has not), "blocks" (of the store), or "". The others were `missed`, since they are "new", or
    the prompt "differs" from the nearest known one at token `differs_at`, or what was known is
    "evicted", or "unreachable": its caches cannot go back to where they are needed, as V4's, which
    forget tokens, and those of a picture's middle. "": none were.
    """

    number: int
    prompt_tokens: int
    cached_tokens: int
    source: str
    missed: Missed
    differs_at: int | None = None


@dataclass(frozen=True)
class CacheReport:
    """The newest requests, oldest first, and what is kept, in bytes."""

    records: tuple[CacheRecord, ...]
    snapshots: int
    snapshot_bytes: int
    block_bytes: int
    folder_bytes: int


class CacheRecords:
    """Keeps the newest records."""

    def __init__(self) -> None:
        self._records: deque[CacheRecord] = deque(maxlen=MOST)

    def __iter__(self):
        return iter(list(self._records))

    def note(self, number: int, ids: Sequence[int], cached: int, cache: PromptCache) -> None:
        """Take down what of a prompt is in its cache, which is prepared for it."""
        common, length = cache.nearest
        missed: Missed = "new"
        differs_at = None
        if cached + cache.lookback >= len(ids) - 1:
            missed = ""
        elif cache.prefixes is not None and cache.prefixes.lost(ids, cached + cache.lookback):
            missed = "evicted"
        elif cached + cache.lookback < min(common, len(ids) - 1):
            missed = "unreachable"
        elif 0 < common < min(length, len(ids)):
            missed = "differs"
        if missed in ("differs", "unreachable") and common < len(ids):
            differs_at = common
        source = cache.source if cached else ""
        self._records.append(CacheRecord(number, len(ids), cached, source, missed, differs_at))
