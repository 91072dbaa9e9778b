"""One thread for all computation: MLX's streams belong to a thread, callers come from many."""

import atexit
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

import mlx.core as mx

from mlx_deepseek.runtime.device import uncompiled

T = TypeVar("T")
Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]
_END: Any = object()
# How long a process that ends waits for the work in hand.
REST_TIMEOUT_S = 10.0


class ComputeThread:
    """Runs functions one at a time, in order of arrival, on a thread of their own.

    The thread never ends, and is a daemon: MLX aborts the process when a thread that has computed
    ends while the process does.
    """

    def __init__(self, name: str = "mlx-deepseek") -> None:
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.began_s: float | None = None  # when the work in hand began; None: there is none
        self._in_hand: Future[Any] = Future()
        self._begin(mx.default_device(), name)

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """function(*args), computed on the thread; exceptions come back as they are."""
        if self.here:
            return function(*args)
        future: Future[T] = Future()
        self._jobs.put((future, function, args))
        return future.result()

    def post(self, function: Callable[[], Any]) -> None:
        """Have function() computed on the thread some time; nobody hears of what it raises."""
        self._jobs.put((Future(), function, ()))

    @property
    def here(self) -> bool:
        """Whether the caller is on the thread."""
        return threading.current_thread() is self._thread

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

    def abandon(self, error: BaseException) -> None:
        """Give the work in hand up, which will never end, with an error; a new thread goes on."""
        stuck = self._in_hand
        self._begin(mx.default_device(), self._thread.name)
        stuck.set_exception(error)

    def _begin(self, device: mx.Device, name: str) -> None:
        self.began_s = None
        self._thread = threading.Thread(target=self._serve, args=(device,), name=name, daemon=True)
        self._thread.start()

    def _serve(self, device: mx.Device) -> None:
        mx.set_default_device(device)
        while True:
            future, function, args = self._jobs.get()
            self._in_hand, self.began_s = future, time.monotonic()
            failed: BaseException | None = None
            result = None
            try:
                with uncompiled():
                    result = function(*args)
            except BaseException as error:
                failed = error
            if not self.here:  # it was given up
                threading.Event().wait()
            self.began_s = None
            if failed is None:
                future.set_result(result)
            else:
                future.set_exception(failed)
            failed = None
            result = None
            del future, function, args  # they may hold a model that nobody else wants any more


@cache
def shared_worker() -> ComputeThread:
    """The process's worker: models take turns, as they do on the device."""
    worker = ComputeThread()
    atexit.register(worker.rest)
    return worker


@cache
def preparing_worker() -> ComputeThread:
    """The process's worker for downloads and conversions: models go on computing meanwhile."""
    worker = ComputeThread("mlx-deepseek-preparing")
    atexit.register(worker.rest)
    return worker
