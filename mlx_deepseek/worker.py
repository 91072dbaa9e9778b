"""One thread per model: MLX's streams belong to a thread, a model's callers come from many."""

import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import mlx.core as mx

T = TypeVar("T")
Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]
_END: Any = object()


class Worker:
    """Runs functions one at a time, in order of arrival, on a thread of their own.

    The thread ends with the Worker. At exit it is left alone, which is why it is a daemon: a
    thread that ends then races with MLX's own end, and the process aborts.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=_serve, args=(self._jobs, mx.default_device()), name="mlx-deepseek", daemon=True
        )
        self._thread.start()
        weakref.finalize(self, self._jobs.put, None).atexit = False

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
            if close is not None:
                self.call(close)


def _serve(jobs: "queue.SimpleQueue[Job | None]", device: mx.Device) -> None:
    mx.set_default_device(device)
    while (job := jobs.get()) is not None:
        future, function, args = job
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)
        del job, future, function, args  # they may hold the Worker, whose end this thread awaits
