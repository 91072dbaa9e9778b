"""One thread for all computation: MLX's streams belong to a thread, callers come from many."""

import atexit
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

import mlx.core as mx

T = TypeVar("T")
Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]
_END: Any = object()
# How long a process that ends waits for the work in hand.
REST_TIMEOUT_S = 10.0


class Worker:
    """Runs functions one at a time, in order of arrival, on a thread of their own.

    The thread never ends, and is a daemon: MLX aborts the process when a thread that has computed
    ends while the process does.
    """

    def __init__(self, name: str = "mlx-deepseek") -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=_serve, args=(self._jobs, mx.default_device()), name=name, daemon=True
        )
        self._thread.start()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """function(*args), computed on the thread; exceptions come back as they are."""
        if threading.current_thread() is self._thread:
            return function(*args)
        future: Future[T] = Future()
        self._jobs.put((future, function, args))
        return future.result()

    def iterate(self, items: Iterator[T]) -> Generator[T]:
        """Advance `items` on the thread, one item per request; closing this closes them there.

        Between two requests the thread is free, so several iterations can be open at once.
        """
        try:
            while True:
                item: T = self.call(next, items, _END)
                if item is _END:
                    break
                yield item
        finally:
            close = getattr(items, "close", None)
            # While the interpreter ends, its threads must stay asleep.
            if close is not None and not sys.is_finalizing():
                self.call(close)

    def rest(self) -> None:
        """End the work in hand, then sleep for ever: what a process does before it ends."""
        asleep = threading.Event()

        def sleep() -> None:
            asleep.set()
            threading.Event().wait()

        self._jobs.put((Future(), sleep, ()))
        asleep.wait(REST_TIMEOUT_S)


@cache
def shared_worker() -> Worker:
    """The process's worker: models take turns, as they do on the device."""
    worker = Worker()
    atexit.register(worker.rest)
    return worker


@cache
def preparing_worker() -> Worker:
    """The process's worker for downloads and conversions: models go on computing meanwhile."""
    worker = Worker("mlx-deepseek-preparing")
    atexit.register(worker.rest)
    return worker


def _serve(jobs: "queue.SimpleQueue[Job]", device: mx.Device) -> None:
    mx.set_default_device(device)
    while True:
        future, function, args = jobs.get()
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)
        del future, function, args  # they may hold a model that nobody else wants any more
