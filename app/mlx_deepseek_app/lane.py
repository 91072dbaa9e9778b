"""Work that is done one after the other, and the queue of it, in which no tab gets ahead."""

import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlx_deepseek.errors import DeepSeekError

log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Raised inside a load to end it."""


class Job:
    """Work that was asked of the host; `take` gives what it has produced since the last call.

    `owner` ends with its tab. A `long` one lets others go first between its parts.
    """

    def __init__(self, owner: str, run: Callable[["Job"], None], *, long: bool = False) -> None:
        self.owner = owner
        self.run = run
        self.long = long
        self.turn = 0  # its place among all tabs' jobs, given by its lane
        self.started = False
        self.began_s = 0.0
        self.finished = False
        self.error = ""
        self.state: tuple[Any, ...] = ()  # a load's progress, for any number of watchers
        self._cancel = threading.Event()
        self._out: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @property
    def tab(self) -> str:
        """Whose it is, whichever page has asked."""
        return self.owner.rpartition(" ")[2]

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


class Lane:
    """A thread that runs jobs one after the other.

    Tabs take turns: a tab's second job waits for the first ones of all others.
    """

    def __init__(self, name: str) -> None:
        self._waiting: list[Job] = []  # in the order in which they will run
        self._running: list[Job] = []  # the last one, while those before it step aside
        self._turn = 0
        self._turns: dict[str, int] = {}  # of each tab that waits, its last job's
        self._holders = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, job: Job) -> Job:
        """Put a job into the queue."""
        with self._changed:
            job.turn = max(self._turn, self._turns.get(job.tab, 0)) + 1
            self._turns[job.tab] = job.turn
            self._waiting.append(job)
            self._waiting.sort(key=lambda one: one.turn)  # stable: else in order of arrival
            self._changed.notify_all()
        return job

    def cancel(self, owner: str) -> None:
        """Stop all that this page of a tab has asked for."""
        with self._changed:
            for job in (*self._running, *self._waiting):
                if job.owner == owner:
                    job.cancel()

    def ahead(self, job: Job) -> int:
        """How many jobs must end before this one starts."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return len(self._running) + self._waiting.index(job)

    def give_way(self) -> None:
        """Called by a long job between two of its parts: run what is short and waits."""
        while (job := self._next(long_too=False)) is not None:
            self._run(job)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stop what runs, wait until it has ended, and let nothing begin meanwhile."""
        with self._changed:
            self._holders += 1
            for job in self._running:
                job.cancel()
            self._changed.wait_for(lambda: not self._running)
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting and not self._holders)
            job = self._next(long_too=True)
            if job is not None:
                self._run(job)

    def _next(self, *, long_too: bool) -> Job | None:
        with self._changed:
            fit = (job for job in self._waiting if long_too or not job.long)
            job = None if self._holders else next(fit, None)
            if job is None:
                return None
            self._waiting.remove(job)
            self._running.append(job)
            self._turn = max(self._turn, job.turn)
            self._turns = {tab: turn for tab, turn in self._turns.items() if turn > self._turn}
            return job

    def _run(self, job: Job) -> None:
        try:
            if not job.cancelled:
                job.began_s = time.monotonic()
                job.started = True
                job.run(job)
        except Cancelled:
            pass
        except Exception as error:
            job.error = explained(error)
        finally:
            with self._changed:
                self._running.remove(job)
                self._changed.notify_all()
            job.finished = True


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
