"""One thread per model: MLX's streams belong to a thread, a model's callers come from many."""

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import mlx.core as mx

T = TypeVar("T")
_END: Any = object()


class Worker:
    """Runs functions one at a time, in order of arrival, on a thread with its own MLX stream."""

    stream: mx.Stream

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "mlx-deepseek", self._enter, (mx.default_device(),))

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """function(*args), computed on the thread; exceptions come back as they are."""
        if threading.current_thread() is getattr(self, "_thread", None):
            return function(*args)
        return self._pool.submit(function, *args).result()

    def iterate(self, items: Iterator[T]) -> Generator[T]:
        """Advance `items` on the thread, one item per request; closing this closes them there.

        Between two requests the thread is free, so several iterations can be open at once.
        """
        try:
            while (item := self.call(next, items, _END)) is not _END:
                yield item
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                self._close(close)

    def _close(self, close: Callable[[], None]) -> None:
        try:
            self.call(close)
        except RuntimeError as error:
            if "shutdown" not in str(error):  # the interpreter is exiting, nothing to tidy
                raise

    def _enter(self, device: mx.Device) -> None:
        self._thread = threading.current_thread()
        mx.set_default_device(device)
        self.stream = mx.new_stream(device)
        mx.set_default_stream(self.stream)
