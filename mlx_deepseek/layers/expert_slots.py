"""One layer's routed experts in fewer places than there are experts: what is read, and when."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx
import numpy as np

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.runtime.slots import Slots


class Fetch(Protocol):
    """Reads in flight."""

    def wait(self) -> None:
        """Wait for them; raises what went wrong."""
        ...


Start = Callable[[dict[int, int]], Fetch]  # begins to read experts into their slots


@dataclass
class Traffic:
    """What a model's streamed layers have done; a use is one expert in one layer and pass."""

    uses: int = 0
    misses: int = 0
    read_bytes: int = 0
    wait_s: float = 0.0  # for reads, when no more could be computed without them

    @property
    def hit_rate(self) -> float:
        """Share of uses that found their expert in memory."""
        return 1 - self.misses / self.uses if self.uses else 1.0

    def since(self, before: "Traffic") -> "Traffic":
        """What was done after `before`, a copy of then."""
        return Traffic(
            self.uses - before.uses,
            self.misses - before.misses,
            self.read_bytes - before.read_bytes,
            self.wait_s - before.wait_s,
        )


class ExpertSlots:
    """The slots of a layer with `count` experts of `nbytes` each."""

    def __init__(self, count: int, capacity: int, nbytes: int, start: Start, traffic: Traffic):
        self.count, self.capacity, self.nbytes, self.traffic = count, capacity, nbytes, traffic
        self._slots = Slots(capacity)
        self._start = start
        self._reading: tuple[dict[int, int], Fetch] | None = None
        self._uses: list[mx.array] = []  # until they are there, slots are in use

    def of(self, experts: np.ndarray) -> np.ndarray:
        """The slots of experts that have one."""
        return np.array([self._slots[expert] for expert in experts.tolist()], np.int32)

    def use(self, output: mx.array) -> None:
        """Begin to compute what needs the slots; they are not written to before it is there."""
        mark = output[:1, :1] + 0  # is there when the output is, which need not be kept
        self._uses = [mark]
        mx.async_eval(output, mark)

    def groups(self, experts: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
        """`experts`, which `counts` tokens chose, in groups; those of each have slots in its turn.

        Those in memory come first, and meanwhile the next group is read. What many tokens chose
        comes last, and so is still there for the next tokens.

        Raises:
            CheckpointError: one cannot be read.
        """
        self._recover()
        wanted: list[int] = experts[np.argsort(counts, kind="stable")].tolist()
        current = [expert for expert in wanted if expert in self._slots]
        missing = [expert for expert in wanted if expert not in self._slots]
        self.traffic.uses += len(wanted)
        self.traffic.misses += len(missing)
        self._slots.use(current)
        while current or missing:
            size = self._size(current, len(missing))
            following, missing = missing[:size], missing[size:]
            if following:
                self._read(following, keep=current)
            if current:
                yield np.sort(current)
            if following:
                self._finish()
            current = following

    def _size(self, current: Sequence[int], missing: int) -> int:
        """Experts to read beside `current`: all if they have room, else to leave the next room."""
        room = self._slots.room(set(current))
        return room if missing <= room else min(room, max(self.capacity // 2, 1))

    def _read(self, experts: Sequence[int], keep: Sequence[int]) -> None:
        mx.eval(self._uses)  # of the slots that are claimed
        claimed = self._slots.claim(experts, set(keep))
        self.traffic.read_bytes += self.nbytes * len(claimed)
        self._reading = claimed, self._start(claimed)

    def _finish(self) -> None:
        """Wait for what is read; if that fails, its slots hold nothing."""
        assert self._reading is not None
        claimed, fetch = self._reading
        began = time.perf_counter()
        try:
            fetch.wait()
        except Exception:
            self._slots.release(claimed)
            self._reading = None
            raise
        finally:
            self.traffic.wait_s += time.perf_counter() - began
        self._slots.fill(claimed)
        self._reading = None

    def _recover(self) -> None:
        """End what a pass that was interrupted left in flight; its errors are not this one's."""
        try:
            if self._reading is not None:
                self._finish()
        except DeepSeekError:
            pass
