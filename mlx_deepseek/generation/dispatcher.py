"""Between those who read answers, on any thread or in any event loop, and the thread that computes.

The scheduler moves as long as somebody waits, or one item is not yet ready for each of those who
read: an answer that nobody reads does not go on, except along with others.
"""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any

from mlx_deepseek.generation.job import END, Generation, Mailbox
from mlx_deepseek.generation.scheduler import Scheduler
from mlx_deepseek.runtime.compute_thread import ComputeThread


class Dispatcher:
    """Runs one scheduler on a worker, which others use between its steps."""

    def __init__(self, worker: ComputeThread, scheduler: Scheduler):
        self.worker = worker
        self.scheduler = scheduler
        self._lock = threading.Lock()
        self._running = False

    def start(self, job: Generation) -> None:
        """Let a request wait for its turn.

        Raises:
            Busy: too many wait.
        """
        self.scheduler.submit(job)
        self.kick()

    def kick(self) -> None:
        """Let the scheduler move, if it stands."""
        with self._lock:
            if self._running:
                return
            self._running = True
        self.worker.post(self._move)

    def next(self, mailbox: Mailbox) -> tuple[Generation, Any]:
        """The next item of any job of a mailbox, as soon as there is one; END is each job's last.

        Raises:
            whatever ended the job.
        """
        while True:
            with mailbox.changed:
                if not mailbox.items and not self.worker.here:
                    self.kick()
                    mailbox.changed.wait_for(lambda: mailbox.items)
                found = mailbox.items.popleft() if mailbox.items else None
            if found is not None:
                return self._given(found, mailbox)
            self.scheduler.tick()  # the caller is on the thread that computes

    async def anext(self, mailbox: Mailbox) -> tuple[Generation, Any]:
        """As `next`, for an event loop."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ready.set)

        while True:
            with mailbox.changed:
                found = mailbox.items.popleft() if mailbox.items else None
                mailbox.wake = None if found else wake
            if found is not None:
                return self._given(found, mailbox)
            self.kick()
            await ready.wait()
            ready.clear()

    def stream(self, job: Generation) -> Generator[Any]:
        """A job's items; it starts with the first, and closing this cancels it."""
        self.start(job)
        try:
            while (found := self.next(job.mailbox)[1]) is not END:
                yield found
        finally:
            self.close(job)

    async def astream(self, job: Generation) -> AsyncGenerator[Any]:
        """As `stream`, for an event loop."""
        self.start(job)
        try:
            while (found := (await self.anext(job.mailbox))[1]) is not END:
                yield found
        finally:
            if job.state != "done":
                self.cancel(job)
                await asyncio.shield(asyncio.to_thread(self.close, job))

    def together(
        self, jobs: Iterable[Generation], mailbox: Mailbox, most: int
    ) -> Generator[tuple[Generation, Any]]:
        """The items of several jobs, which put them into `mailbox`; END is each one's last.

        At most `most` are at work; a job is taken when there is room for it. One that fails, or
        closing this, ends them all.
        """
        going: set[Generation] = set()
        coming = iter(jobs)
        try:
            while True:
                while len(going) < most and (job := next(coming, None)) is not None:
                    self.start(job)
                    going.add(job)
                if not going:
                    return
                job, item = self.next(mailbox)
                if item is END:
                    going.remove(job)
                yield job, item
        finally:
            for job in going:
                self.close(job)

    def cancel(self, job: Generation) -> None:
        """End a job with the next step, without waiting for it."""
        job.cancelled = True
        self.kick()

    def close(self, job: Generation) -> None:
        """End a job; it has ended when this returns."""
        job.cancelled = True
        # While the interpreter ends, its threads must stay asleep.
        if job.state != "done" and not sys.is_finalizing():
            self.worker.call(self.scheduler.drop, job)

    def _given(self, found: tuple[Generation, Any], mailbox: Mailbox) -> tuple[Generation, Any]:
        job, item = found
        if item is END and job.error is not None:
            raise job.error
        if mailbox.wanting:
            self.kick()
        return job, item

    def _move(self) -> None:
        """One step, and the next one after others have had their turn on the thread."""
        try:
            self.scheduler.tick()
        except BaseException as error:
            self.scheduler.close(error)
        with self._lock:
            jobs = self.scheduler.jobs
            self._running = any(job.cancelled or job.mailbox.wanting for job in jobs)
            again = self._running
        if again:
            self.worker.post(self._move)
