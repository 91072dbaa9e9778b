"""A thread that works off a queue; what goes wrong in it is raised where work is handed to it."""

import queue
import threading
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Stage(threading.Thread, Generic[Item]):
    """Subclasses say what to `handle`; `waiting` items at most are in the queue (0: any number)."""

    def __init__(self, name: str, waiting: int = 0):
        super().__init__(name=name, daemon=True)
        self._queue: queue.Queue[Item | None] = queue.Queue(waiting)
        self._error: BaseException | None = None
        self._abandoned = False

    def handle(self, item: Item) -> None:
        """Work off one item."""
        raise NotImplementedError

    def put(self, item: Item) -> None:
        """Hand over an item; raises what went wrong with an earlier one."""
        self._check()
        self._queue.put(item)

    def finish(self) -> None:
        """Wait until all is done; raises what went wrong."""
        self._queue.put(None)
        self.join()
        self._check()

    def abandon(self) -> None:
        """Do nothing more with what is waiting."""
        self._abandoned = True

    def run(self) -> None:
        """The thread's work; after an error it only empties the queue."""
        while (item := self._queue.get()) is not None:
            try:
                if self._error is None and not self._abandoned:
                    self.handle(item)
            except BaseException as error:
                self._error = error

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
