"""Work that takes its time: asked for, watched, stopped. Who computes when, the engine decides."""

import asyncio
import logging
import queue
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlx_deepseek.errors import DeepSeekError

log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Raised inside a load to end it."""


class Job:
    """Work that was asked of the service; `take` gives what it has produced since the last call.

    `owner` names whose it is. `done` is called at the end, however it came, by who ran it. An
    `idle` one waits until there is no other, and is cancelled when another comes.
    """

    def __init__(
        self,
        owner: str,
        run: Callable[["Job"], None],
        done: Callable[["Job"], None] = lambda job: None,
        idle: bool = False,
    ) -> None:
        self.owner = owner
        self.idle = idle
        self.run = run
        self.done = done
        self.started = False
        self.began_s = 0.0
        self.finished = False
        self.error = ""
        self.state: tuple[Any, ...] = ()  # a load's progress, for any number of watchers
        self._cancel = threading.Event()
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @property
    def cancelled(self) -> bool:
        """Whether somebody has asked to stop."""
        return self._cancel.is_set()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self.began_s

    def cancel(self) -> None:
        """Ask the worker to stop at the next token; returns at once."""
        self._cancel.set()

    def put(self, item: Any) -> None:
        """Called by the worker; stamped with the seconds since the work began."""
        self._out.put((self.elapsed_s, item))

    def take(self) -> list[tuple[float, Any]]:
        """What is new with its times, oldest first; never waits."""
        items = []
        while not self._out.empty():
            items.append(self._out.get())
        return items


async def watch(
    job: Job, every_s: float = 0.1, news: Callable[[], object] | None = None
) -> AsyncIterator[None]:
    """Yields at once, then whenever `news()` is true or the job waits, and once when it has ended.

    Without `news`, which takes what the job has produced, it yields every `every_s` seconds.
    """
    yield
    while not job.finished:
        await asyncio.sleep(every_s)
        if not job.finished and (news is None or news() or not job.started):
            yield
    if news is not None:
        news()
    yield


class JobQueue:
    """Jobs, each on a thread of its own: `at_once` of them, or all; the others wait in line."""

    def __init__(self, name: str, at_once: int | None = None) -> None:
        self._name = name
        self._at_once = at_once
        self._jobs: list[Job] = []  # that have not ended, oldest first
        self._pauses = 0
        self._changed = threading.Condition()

    @property
    def running(self) -> list[Job]:
        """Jobs that have not ended."""
        return list(self._jobs)

    def submit(self, job: Job) -> Job:
        """Begin a job, or let it wait."""
        with self._changed:
            self._jobs.append(job)
        if not job.idle:
            self.make_way()
        # daemon: what a job waits for may never come, and the process must end all the same
        threading.Thread(target=self._run, args=(job,), name=self._name, daemon=True).start()
        return job

    def make_way(self) -> None:
        """End what only runs because nothing else did."""
        self._end(lambda job: job.idle and job.started)

    def cancel(self, owner: str) -> None:
        """Stop all that this owner has asked for."""
        self._end(lambda job: job.owner == owner)

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop everything, and wait for its end."""
        self._end(lambda job: True)
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs, timeout_s)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop what runs, wait until it has ended, and let nothing begin meanwhile."""
        with self._changed:
            self._pauses += 1
        self._end(lambda job: job.started)
        try:
            with self._changed:
                self._changed.wait_for(lambda: not any(job.started for job in self._jobs))
            yield
        finally:
            with self._changed:
                self._pauses -= 1
                self._changed.notify_all()

    def _end(self, which: Callable[[Job], bool]) -> None:
        with self._changed:
            for job in filter(which, self._jobs):
                job.cancel()
            self._changed.notify_all()

    def _may_begin(self, job: Job) -> bool:
        if job.idle and any(not other.idle for other in self._jobs) and not job.cancelled:
            return False
        at_once = len(self._jobs) if self._at_once is None else self._at_once
        return job.cancelled or (not self._pauses and self._jobs.index(job) < at_once)

    def _run(self, job: Job) -> None:
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._may_begin(job))
                job.started, job.began_s = not job.cancelled, time.monotonic()
            if job.started:
                job.run(job)
        except Cancelled:
            pass
        except Exception as error:
            job.error = explained(error)
        finally:
            job.finished = True
            job.done(job)
            with self._changed:
                self._jobs.remove(job)
                self._changed.notify_all()


def explained(error: Exception) -> str:
    """What to tell the user of an error, with a remedy; logs those that nobody expected."""
    if isinstance(error, DeepSeekError):
        return str(error)
    first = (str(error).splitlines() or [""])[0]
    if isinstance(error, MemoryError) or any(word in first.lower() for word in ("memory", "alloc")):
        return (
            f"The memory of this machine does not suffice ({first}). Shorten the conversation, "
            "choose a smaller model, or close other programs."
        )
    # an error's own words may quote a conversation: they are shown, and not logged
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("a job of the app failed: %s\n%s", type(error).__name__, where)
    return f"{type(error).__name__}: {first}. Try again; if it comes back, load the model anew."


@dataclass
class Answer:
    """What the model has written so far for `job`, and what it took."""

    job: Job | None = None
    text: str = ""
    reasoning: str = ""
    usage: Any = None

    def take(self) -> bool:
        """Add what is new; False if that is nothing."""
        chunks = [] if self.job is None else self.job.take()
        for _, chunk in chunks:
            self.text += chunk.text or ""
            self.reasoning += chunk.reasoning or ""
            self.usage = chunk.usage or self.usage
        return bool(chunks)
