"""The one model in memory and the one thread that may touch it.

Every tab shares it. Loads and replies queue up in order of arrival; the page polls a `Job`.
MLX's streams belong to a thread, so the whole life of a model happens on this one.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
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
        """Called by the worker."""
        self._out.put(item)

    def take(self) -> list[Any]:
        """What is new, oldest first; never waits."""
        items = []
        while not self._out.empty():
            items.append(self._out.get())
        return items


class Host:
    """Holds the engine; `loader(source, progress=...)` makes one (`mlx_deepseek.load`)."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self.engine: Any = None
        self.source = ""
        self.first_load: Job | None = None
        self.first_source = ""
        threading.Thread(target=self._work, name="mlx-deepseek-host", daemon=True).start()

    def load(self, owner: str, source: str) -> Job:
        """Load `source`; the job's `state` is its progress. The old engine stays on failure."""

        def run(job: Job) -> None:
            def progress(*state: Any) -> None:
                if job.cancelled:
                    raise Cancelled
                job.state = state

            engine = self._loader(source, progress=progress)
            self.engine, self.source = engine, source

        return self._submit(Job(owner, run))

    def start(self, source: str) -> Job:
        """Begin with this model; pages opened meanwhile watch `first_load`."""
        self.first_source = source
        self.first_load = self.load("", source)
        return self.first_load

    def stream(self, owner: str, reply: Callable[[Any], Iterable[Any]]) -> Job:
        """Run `reply(engine)`, a stream of chunks, when its turn comes; the job yields them."""

        def run(job: Job) -> None:
            if self.engine is None:
                raise DeepSeekError("No model is loaded. Choose one under Settings, Model.")
            chunks = reply(self.engine)
            try:
                for chunk in chunks:
                    job.put(chunk)
                    if job.cancelled:
                        break
            finally:
                if isinstance(chunks, Iterator) and hasattr(chunks, "close"):
                    chunks.close()  # type: ignore[attr-defined]

        return self._submit(Job(owner, run))

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

    def _submit(self, job: Job) -> Job:
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        return job

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs)
                job = self._jobs[0]
            try:
                if not job.cancelled:
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
