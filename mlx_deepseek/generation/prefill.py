"""A prompt that is read chunk by chunk, and those who wait for what it shares with theirs."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from mlx_deepseek.cache.padded_batch import CacheBatch, can_read, shared_tokens
from mlx_deepseek.cache.prompt_cache import PromptCache, common_prefix
from mlx_deepseek.generation.job import Generation
from mlx_deepseek.generation.request import Stopwatch
from mlx_deepseek.layers.streamed_experts import traffic
from mlx_deepseek.runtime.device import on_gpu
from mlx_deepseek.vision.picture_slots import whole_after, whole_before

# Prompt tokens between two chances to stop; a CPU reads some hundred per second.
CHUNK_GPU, CHUNK_CPU = 2048, 256
# While others write, they get a token after so many times fewer.
SHORTER = 4


def chunk_tokens(*, short: bool) -> int:
    """Prompt tokens to read at a time; `short` where others wait for the next step."""
    step = CHUNK_GPU if on_gpu() else CHUNK_CPU
    return step // SHORTER if short else step


class Prefill:
    """All tokens of a prompt but the last go through the model into `cache`."""

    def __init__(self, model: Any, job: Generation, cache: PromptCache):
        self.model = model
        self.job = job
        self.request = job.request
        self.cache = cache
        self.position = cache.prepare(self.request.ids)
        self.end = len(self.request.ids) - 1
        self.watch = Stopwatch(len(self.request.ids), self.position, traffic(self.model))
        self.followers: list[tuple[int, Generation, PromptCache]] = []
        job.read_tokens = self.position

    @property
    def done(self) -> bool:
        """Whether only the last token is left."""
        return self.position >= self.end

    def shared(self, ids: Any) -> int:
        """Tokens at the beginning of another prompt that will be in the cache."""
        shared = min(common_prefix(self.request.ids, ids), self.end, len(ids) - 1)
        return whole_before(ids, shared)

    @property
    def left(self) -> int:
        """Tokens to read until it is done, or until a follower's prompt goes its own way."""
        cuts = [place for place, _, _ in self.followers if place > self.position]
        return min([self.end, *cuts]) - self.position

    def read(self, step: int) -> None:
        """Read the next chunk, of `step` tokens at most, but pictures whole."""
        first, limit = self.position, self.position + self.left
        last = min(whole_after(self.request.ids, first + step), limit)
        ids, embeddings = self.request.part(first, last)
        following = self.request.numbers(first + 1, last + 1)
        forward(self.model, self.cache.drafter, ids, embeddings, following, *self._held)
        self.cache.evaluate()
        mx.clear_cache()
        self.advance(last - first)

    def advance(self, tokens: int) -> None:
        """Account for tokens that are read."""
        self.position += tokens
        self.job.read_tokens = self.position

    def joins(self, other: "Prefill") -> bool:
        """Whether both can be read in one pass of the model."""
        if self.cache.drafter is not other.cache.drafter or not (self._plain and other._plain):
            return False
        pairs = zip(self.cache.caches, other.cache.caches, strict=True)
        return all(a.empty() == b.empty() for a, b in pairs)

    @property
    def _held(self) -> tuple[list[Any], list[Any]]:
        return self.cache.layers, self.cache.drafts

    @property
    def _plain(self) -> bool:
        """Whether its caches are rows, all of one length, and no picture follows."""
        caches = self.cache.caches
        rows = can_read(caches) and all(cache.offset == self.position for cache in caches)
        return rows and min(self.request.ids[self.position :]) >= 0

    def arrived(self) -> list[tuple[Generation, PromptCache]]:
        """Followers for whom enough is read; they follow no longer."""
        here = [(job, cache) for place, job, cache in self.followers if place <= self.position]
        self.followers = [one for one in self.followers if one[0] > self.position]
        return here


def is_short(reading: Prefill, step: int) -> bool:
    """Whether what is left of a prompt takes half a chunk at most, so that others fit beside it."""
    return 2 * reading.left <= step


def together(first: Prefill, others: Sequence[Prefill], step: int) -> list[Any]:
    """Those prompts that are read in one pass with the first, if that is short.

    What is left of the shortest is read of each, up to twice `step` tokens in all.
    """
    group = [first]
    if not is_short(first, step):
        return group
    for one in sorted(others, key=lambda one: one.left):
        least = min(first.left, one.left)
        if one is not first and (len(group) + 1) * least <= 2 * step and first.joins(one):
            group.append(one)
    return group


def read_together(readings: Sequence[Prefill], step: int) -> None:
    """Read `step` tokens of one prompt, or of each of more as many as the shortest has left."""
    first = readings[0]
    if len(readings) == 1:
        first.read(step)
        return
    count = min(one.left for one in readings)
    prompts = [one.request.ids for one in readings]
    most = min(one.position for one in readings) - 1
    # What a drafter keeps of a token depends on the next one, too.
    caches = [batched([one._held[i] for one in readings], prompts, (most, 0)[i]) for i in (0, 1)]
    spans = [(one.request, one.position) for one in readings]
    ids = mx.concatenate([r.numbers(start, start + count) for r, start in spans])
    following = mx.concatenate([r.numbers(start + 1, start + count + 1) for r, start in spans])
    layers = [batch.layers if batch is not None else [] for batch in caches]
    forward(first.model, first.cache.drafter, ids, None, following, *layers)
    for number, one in enumerate(readings):
        own = [[] if batch is None else batch.extract(number) for batch in caches]
        one.cache.layers, one.cache.drafts = own
        one.advance(count)
    mx.eval([cache.state for one in readings for cache in one.cache.caches])
    mx.clear_cache()


def batched(
    rows: Sequence[Sequence[Any]], prompts: Sequence[Sequence[int]], most: int
) -> CacheBatch | None:
    """The caches of several requests as one; None where there are none.

    Of the tokens with which all prompts begin, `most` at most are shared.
    """
    if not rows[0]:
        return None
    if rows[0][0].empty():
        return CacheBatch.empty(rows[0], len(rows))
    return CacheBatch(rows, shared_tokens(rows[0], prompts, most))


def forward(
    model: Any,
    drafter: Any,
    ids: mx.array,
    embeddings: mx.array | None,
    following: mx.array,
    layers: Sequence[Any],
    drafts: Sequence[Any],
) -> None:
    """Take tokens [B, L] into the model's caches, and into the drafter's, if there is one."""
    if drafter is None:
        seen = {} if embeddings is None else {"input_embeddings": embeddings}
        model(ids, cache=layers, **seen)
    else:
        _, features = drafter.forward(model, ids, layers, embeddings)
        drafter.draft(features, following, 0, None, drafts)
