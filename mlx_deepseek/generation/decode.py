"""The tokens of one request on the thread that calls: the scheduler, with nobody else in it."""

import sys
from collections.abc import Generator, Sequence
from typing import Any

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.cache.report import CacheRecords
from mlx_deepseek.generation.job import END, Generation, TokenSink
from mlx_deepseek.generation.request import GeneratedToken, Request
from mlx_deepseek.generation.scheduler import Scheduler


class OwnCaches:
    """Every request brings its own cache."""

    def __init__(self, model: Any):
        self.model = model
        self.records = CacheRecords()

    def take(self, ids: Sequence[int], wanted: PromptCache | None) -> PromptCache:
        """The request's own, or an empty one."""
        return wanted or PromptCache(self.model)

    def free_tokens(self) -> int:
        """Whoever brings caches knows whether they fit."""
        return sys.maxsize

    def give_back(self, cache: PromptCache) -> None:
        """Whoever brought it has it."""


def tokens(model: Any, request: Request, cache: PromptCache) -> Generator[GeneratedToken]:
    """Generate until a stop token, which comes too, or `max_tokens`.

    Call it on one thread from beginning to end. Whenever this is suspended, or closed, `cache` can
    go on from the prompt and the tokens so far.
    """
    scheduler = Scheduler(model, OwnCaches(model))
    job = Generation(request, TokenSink(), cache)
    scheduler.submit(job)
    try:
        while True:
            while job.mailbox.items:
                _, item = job.mailbox.items.popleft()
                if item is END:
                    if job.error is not None:
                        raise job.error
                    return
                if isinstance(item, GeneratedToken):
                    yield item
            scheduler.tick()
    finally:
        scheduler.drop(job)
