"""Who computes when: prompts are read in chunks between the steps of those who write.

Requests come and go between two steps. A prompt that begins as another one which is in the works
takes this beginning from it, or waits until it is read, so that it is read once. A model whose
caches cannot be rows of one batch serves its requests in turn, a step each.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Protocol

import mlx.core as mx
from mlx_lm.generate import wired_limit

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.cache.report import CacheRecords
from mlx_deepseek.errors import Busy
from mlx_deepseek.generation.batch import DecodingBatch, WrittenToken, gathered
from mlx_deepseek.generation.counts import SchedulerCounts
from mlx_deepseek.generation.job import Generation
from mlx_deepseek.generation.prefill import Prefill, read_together
from mlx_deepseek.generation.prefill_queue import PrefillQueue
from mlx_deepseek.generation.request import GeneratedToken
from mlx_deepseek.generation.results import FinishReason
from mlx_deepseek.generation.room import growing, longest
from mlx_deepseek.generation.row import DecodingRow
from mlx_deepseek.generation.sharing import adopt, borrow

log = logging.getLogger(__name__)

STREAMS, QUEUE = 16, 256
# Tokens from which it pays to take a prompt's beginning from another request.
WORTH = 16
CLEAR_EVERY = 256  # steps, after which MLX gives freed buffers back
# Of the seconds per request, how much the last one counts; and what is assumed before any.
LATEST, FIRST_GUESS_S = 0.2, 5.0


class CacheSource(Protocol):
    """Where requests get their caches from, and leave them for those who come later."""

    def take(self, ids: Sequence[int], wanted: PromptCache | None) -> PromptCache:
        """A cache for a prompt: the one that is wanted, if nobody has it."""
        ...

    def give_back(self, cache: PromptCache) -> None:
        """Nobody uses it any more."""
        ...

    def free_tokens(self) -> int:
        """Tokens for which there is memory beside all that is held now."""
        ...

    @property
    def records(self) -> CacheRecords:
        """Where it is noted what of a prompt was cached."""
        ...


class Scheduler:
    """At most `streams` requests at once, and `queue` that wait; `tick` is one step of all.

    A request starts once there is memory for its prompt and its longest answer beside those of the
    others, in the order in which they came; one alone always starts. `submit` may be called from
    any thread; all else belongs to the thread that computes.
    """

    def __init__(
        self, model: Any, caches: CacheSource, *, streams: int = STREAMS, queue: int = QUEUE
    ):
        self.model = model
        # An error as its reason: one of several machines may be lost.
        self.explained: Callable[[Exception], Exception] = lambda error: error
        self.caches = caches
        self.streams = streams
        self.queue = queue
        self.counts = SchedulerCounts()
        self.waiting: deque[Generation] = deque()
        self.readings = PrefillQueue()
        self.batches: list[DecodingBatch] = []
        self._seconds = FIRST_GUESS_S
        self._limits = ExitStack()
        self._active = False

    def submit(self, job: Generation) -> None:
        """Let a request wait for its turn.

        Raises:
            Busy: too many wait.
        """
        if len(self.waiting) >= self.queue:
            self.counts.refused += 1
            seconds = max(1.0, self._seconds * len(self.waiting) / self.streams)
            raise Busy(
                f"{len(self.waiting)} requests wait already. Try again in {seconds:.0f} s.", seconds
            )
        self.counts.requests += 1
        self.waiting.append(job)

    @property
    def jobs(self) -> list[Generation]:
        """All requests that are not done, oldest first."""
        found = [*self.waiting, *(row.job for row in self.rows), *self.readings.jobs]
        return sorted(found, key=lambda job: job.number)

    @property
    def rows(self) -> list[DecodingRow]:
        """The requests whose answers are being written."""
        return [row for batch in list(self.batches) for row in batch.rows]

    @property
    def live(self) -> int:
        """Requests that hold a cache."""
        return len(self.rows) + len(self.readings.jobs)

    def tick(self) -> None:
        """Let requests come and go, read one chunk of one prompt, write one token for each row."""
        for job in [job for job in self.jobs if job.cancelled]:
            self.drop(job)
        self._admit()
        self._read()
        if self._writing or not self.readings.short:  # or else all begin to write in one batch
            self.batches = gathered(self.batches)
            for batch in list(self.batches):
                self._step(batch)
        self.counts.steps += 1
        if self.counts.steps % CLEAR_EVERY == 0:
            mx.clear_cache()
        if not self.live and not self.waiting:
            self._limits.close()
            self._active = False

    def drop(self, job: Generation) -> None:
        """End a request that nobody waits for any more; its cache keeps what was read."""
        if job.state == "done":
            return
        self.counts.cancelled += 1
        if job in self.waiting:
            self.waiting.remove(job)
        for reading in list(self.readings):
            if reading.job is job:
                self._give_up(reading)
            for one in [one for one in reading.followers if one[1] is job]:
                reading.followers.remove(one)
                self.caches.give_back(one[2])
        for batch in self.batches:
            for row in [row for row in batch.rows if row.job is job]:
                self._remove(batch, [row])
        job.end(None)

    def end_all(self, error: BaseException) -> None:
        """End all requests with an error, from any thread, if the one that computes is lost."""
        for job in self.jobs:
            job.end(None, error)

    def close(self, error: BaseException) -> None:
        """End all requests with an error."""
        self.end_all(error)
        for cache in [one.cache for one in (*self.readings, *self.rows)]:
            cache.clear()
            self.caches.give_back(cache)
        self.waiting.clear()
        self.readings, self.batches = PrefillQueue(), []
        self._limits.close()

    def _has_room(self, job: Generation) -> bool:
        if not self.live:
            return True
        coming = growing(self.rows, self.readings) + longest(job)
        return coming <= self.caches.free_tokens()

    def _admit(self) -> None:
        while self.waiting and self.live < self.streams and self._has_room(self.waiting[0]):
            job = self.waiting.popleft()
            if not self._active:  # Metal: weights stay where the GPU reads them
                stream = mx.default_stream(mx.default_device())
                self._limits.enter_context(wired_limit(self.model, [stream]))
                self._active = True
            if not self.live:
                mx.reset_peak_memory()
            job.began_s = time.monotonic()
            try:
                cache = self.caches.take(job.request.ids, job.cache)
            except Exception as error:
                self.counts.failed += 1
                job.end(None, error)
                continue
            self._start(job, cache)

    def _start(self, job: Generation, cache: PromptCache) -> None:
        """Read a prompt, or wait until another request has read what both share."""
        ids = job.request.ids
        try:
            own = cache.reusable(ids) + WORTH
            if (leader := self.readings.leader(ids, own)) is not None:
                leader.followers.append((leader.shared(ids), job, cache))
                return
            borrow(cache, ids, own, self.batches, self.readings)
            reading = Prefill(self.model, job, cache)
        except Exception as error:
            self._fail(job, cache, error)
            return
        job.state = "reading"
        self.caches.records.note(job.number, ids, reading.position, cache)
        self.counts.prompt_tokens += len(ids)
        self.counts.cached_tokens += reading.position
        self.readings.append(reading)
        if reading.done:
            self._write(reading)

    @property
    def _writing(self) -> bool:
        """Whether somebody has got a token and waits for the next one."""
        return any(row.watch.count for row in self.rows)

    def _read(self) -> None:
        """One chunk of a prompt, or of several short ones."""
        if not self.readings:
            return
        group, step = self.readings.next(writing=self._writing)
        try:
            read_together(group, step)
        except Exception as error:
            error = self.explained(error)
            for one in group:
                one.cache.clear()
                self._give_up(one, error)
            return
        for one in group:
            self._told(one)

    def _told(self, reading: Prefill) -> None:
        """Tell of a chunk that is read, and let go on who has waited for it."""
        try:
            reading.job.take(GeneratedToken(None, reading.watch.usage()))
        except Exception as error:
            self._give_up(reading, error)
            return
        for job, cache in reading.arrived():
            adopt(cache, job.request.ids, reading.cache.layers, reading.cache)
            self._start(job, cache)
        if reading.done:
            self._write(reading)

    def _write(self, reading: Prefill) -> None:
        self.readings.remove(reading)
        reading.job.state = "writing"
        row = DecodingRow(reading.job, reading.request, reading.cache, reading.watch)
        self.batches.append(DecodingBatch(self.model, row))

    def _give_up(self, reading: Prefill, error: BaseException | None = None) -> None:
        """End a reading; those who have waited for it read on their own."""
        self.readings.remove(reading)
        if error is None:
            reading.cache.store()
            self.caches.give_back(reading.cache)
        else:
            self._fail(reading.job, reading.cache, error)
        for _, job, cache in reading.followers:
            self._start(job, cache)

    def _step(self, batch: DecodingBatch) -> None:
        try:
            tokens = batch.step()
        except Exception as error:
            error = self.explained(error)
            self.batches.remove(batch)
            for row in batch.rows:
                row.cache.clear()  # an interrupted step leaves layers of different lengths
                self._fail(row.job, row.cache, error)
            return
        ended: dict[DecodingRow, FinishReason | Exception] = {}
        for token in tokens:
            if token.row not in ended and (end := self._tell(token)) is not None:
                ended[token.row] = end
        ended |= {row: row.sampler.error for row in batch.rows if row.sampler.error is not None}
        if not ended:
            return
        self._remove(batch, list(ended))
        for row, end in ended.items():
            self._count(row)
            if isinstance(end, Exception):
                self.counts.failed += 1
                row.job.end(None, end)
            else:
                self.counts.finished += 1
                row.job.end(end)

    def _tell(self, token: WrittenToken) -> "FinishReason | Exception | None":
        """Hand a token on; returns why it was the last."""
        row = token.row
        row.watch.token()
        try:
            row.job.take(GeneratedToken(token.token, row.watch.usage(), token.logprobs))
        except Exception as error:
            return error
        if token.token in row.request.stop_ids or row.job.sink.stopped:
            return "stop"
        return "length" if row.watch.count >= row.request.max_tokens else None

    def _remove(self, batch: DecodingBatch, rows: Sequence[DecodingRow]) -> None:
        """Let rows go; their caches keep what they hold."""
        batch.remove(rows)
        if not batch.rows:
            self.batches.remove(batch)
        for row in rows:
            try:
                row.catch_up()
                mx.async_eval([layer.state for layer in row.cache.caches])  # not all of the batch
                row.cache.store()
            except Exception as error:  # a disk that fails; the answer itself is whole
                log.warning("What was read of a prompt is not kept: %s", error)
                row.cache.clear()
            self.caches.give_back(row.cache)

    def _fail(self, job: Generation, cache: PromptCache, error: BaseException) -> None:
        self.counts.failed += 1
        self.caches.give_back(cache)
        job.end(None, error)

    def _count(self, row: DecodingRow) -> None:
        self.counts.completion_tokens += row.watch.count
        self.counts.drafted_tokens += row.watch.drafted
        self.counts.accepted_tokens += row.watch.accepted
        seconds = time.monotonic() - row.job.began_s
        self._seconds += LATEST * (seconds - self._seconds)
