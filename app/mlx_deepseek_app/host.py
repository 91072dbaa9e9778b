"""The one model in memory, and the queues of what the tabs want of it.

Every tab shares the model. Work is done on threads of the host; the page polls a `Job`.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

from mlx_deepseek.errors import DeepSeekError

log = logging.getLogger(__name__)

Loader = Callable[..., Any]


class Cancelled(Exception):
    """Raised inside a load to end it."""


class Job:
    """Work that was asked of the host; `take` gives what it has produced since the last call."""

    def __init__(self, owner: str, run: Callable[["Job"], None]) -> None:
        self.owner = owner
        self.run = run
        self.started = False
        self.began_s = 0.0
        self.finished = False
        self.error = ""
        self.state: tuple[Any, ...] = ()  # a load's progress, for any number of watchers
        self._cancel = threading.Event()
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @property
    def cancelled(self) -> bool:
        """Whether the user, or the end of his tab, has asked to stop."""
        return self._cancel.is_set()

    def cancel(self) -> None:
        """Ask the worker to stop at the next token; returns at once."""
        self._cancel.set()

    def put(self, item: Any) -> None:
        """Called by the worker; stamped with the seconds since the work began."""
        self._out.put((time.monotonic() - self.began_s, item))

    def take(self) -> list[tuple[float, Any]]:
        """What is new with its times, oldest first; never waits."""
        items = []
        while not self._out.empty():
            items.append(self._out.get())
        return items


def reporter(job: Job) -> Callable[..., None]:
    """Notes a load's progress in its job, and ends it when it is cancelled."""

    def progress(*state: Any) -> None:
        if job.cancelled:
            raise Cancelled
        job.state = state

    return progress


class Lane:
    """A thread that runs jobs one after the other, in order of arrival."""

    def __init__(self, name: str) -> None:
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, job: Job) -> Job:
        """Put a job at the end of the queue."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        return job

    def cancel(self, owner: str) -> None:
        """Stop all that this tab has asked for."""
        with self._changed:
            for job in self._jobs:
                if job.owner == owner:
                    job.cancel()

    def ahead(self, job: Job) -> int:
        """How many jobs must end before this one starts."""
        with self._changed:
            return self._jobs.index(job) if job in self._jobs else 0

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
                job = self._jobs[0]
            try:
                if not job.cancelled:
                    job.began_s = time.monotonic()
                    job.started = True
                    job.run(job)
            except Cancelled:
                pass
            except DeepSeekError as error:
                job.error = str(error)
            except Exception as error:
                # the traceback holds no conversation text, the message of the error might
                log.exception("a job of the app failed")
                job.error = f"{type(error).__name__}: {error}"
            finally:
                with self._changed:
                    self._jobs.remove(job)
                job.finished = True


class Host:
    """Holds the engine; `loader(source, progress=...)` makes one (`mlx_deepseek.load`).

    Replies wait for each other, and loads do; a download does not keep anybody from chatting.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self.replies = Lane("mlx-deepseek-replies")
        self.loads = Lane("mlx-deepseek-loads")
        self.engine: Any = None
        self.source = ""
        self.first_load: Job | None = None
        self.first_source = ""

    def start(self, source: str) -> Job:
        """Begin with this model; pages opened meanwhile watch `first_load`."""
        self.first_source = source
        self.first_load = self.load("", source)
        return self.first_load

    def load(self, owner: str, source: str, recipe: str | None = None) -> Job:
        """Load `source`; the job's `state` is its progress. The old engine stays on failure."""
        options = {} if recipe is None else {"recipe": recipe}

        def run(job: Job) -> None:
            engine = self._loader(source, progress=reporter(job), **options)
            self.engine, self.source = engine, source

        return self.loads.submit(Job(owner, run))

    def borrow(self, owner: str, source: str) -> Job:
        """Load `source` beside the engine in memory, which stays; the job yields it."""

        def run(job: Job) -> None:
            job.put(self._loader(source, progress=reporter(job)))

        return self.loads.submit(Job(owner, run))

    def stream(
        self, owner: str, reply: Callable[[Any], Iterable[Any]], ahead_s: float = 0.0
    ) -> Job:
        """Run `reply(engine)`, a stream of chunks, when its turn comes; the job yields them.

        `ahead_s` is added to their times.
        """

        def run(job: Job) -> None:
            if self.engine is None:
                raise DeepSeekError("No model is loaded. Choose one under Settings, Model.")
            chunks = reply(self.engine)
            try:
                job.began_s -= ahead_s
                for chunk in chunks:
                    job.put(chunk)
                    if job.cancelled:
                        break
            finally:
                if isinstance(chunks, Generator):
                    chunks.close()

        return self.replies.submit(Job(owner, run))
