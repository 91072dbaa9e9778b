"""Workers that are kept: a bounded number, each for what it has imported."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.process import Limits
from mlx_deepseek.proving.worker import LeanWorker, WorkerStoppedError, start_worker

MOST_USES = 1000  # a server never forgets everything


class WorkerPool:
    """Hands out workers by their imports; at most `size` exist.

    A free one with the same imports is taken, else one is started; where there are enough, the
    one that has been free longest gives way.
    """

    def __init__(self, lean: Lean, limits: Limits, size: int = 1):
        self.lean = lean
        self.limits = replace(limits, seconds=0.0)
        self.size = size
        self._free: list[tuple[str, LeanWorker]] = []
        self._count = 0
        self._closed = False
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def worker(self, imports: str) -> Generator[LeanWorker]:
        """A worker for a text with these imports; one that stopped is not kept.

        Raises:
            WorkerStoppedError: the pool is closed.
        """
        worker = self._take(imports)
        try:
            yield worker
        except BaseException:
            self._drop(worker)
            raise
        if worker.uses >= MOST_USES or self._closed:
            self._drop(worker)
            return
        with self._changed:
            self._free.append((imports, worker))
            self._changed.notify()

    def close(self) -> None:
        """End every worker; those in use end when they are given back."""
        with self._changed:
            self._closed = True
            free, self._free = self._free, []
            self._changed.notify_all()
        for _, worker in free:
            self._drop(worker)

    def _take(self, imports: str) -> LeanWorker:
        with self._changed:
            while True:
                if self._closed:
                    raise WorkerStoppedError("Stopped.")
                same = next((one for one in self._free if one[0] == imports), None)
                if same is not None:
                    self._free.remove(same)
                    return same[1]
                if self._count < self.size:
                    self._count += 1
                    break
                if self._free:
                    self._free.pop(0)[1].close()
                    break
                self._changed.wait()
        try:
            return start_worker(self.lean, self.limits)
        except BaseException:
            self._gone()
            raise

    def _drop(self, worker: LeanWorker) -> None:
        worker.close()
        self._gone()

    def _gone(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify()
