"""Which of many things are in few places, and which to give up: least recently used first."""

from collections import OrderedDict
from collections.abc import Collection, Iterable


class Slots:
    """`capacity` numbered slots for things with numbers; a thing is in one slot or in none."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self._held: OrderedDict[int, int] = OrderedDict()  # thing -> slot, least recent first
        self._free = list(range(capacity))

    def __contains__(self, thing: int) -> bool:
        return thing in self._held

    def __getitem__(self, thing: int) -> int:
        """The slot of a thing that has one."""
        return self._held[thing]

    def use(self, things: Iterable[int]) -> None:
        """Note that they are wanted now, the last one most recently."""
        for thing in things:
            self._held.move_to_end(thing)

    def room(self, keep: Collection[int]) -> int:
        """Slots that `claim` can give while it keeps what is in `keep`."""
        return self.capacity - sum(thing in self._held for thing in keep)

    def claim(self, things: Collection[int], keep: Collection[int]) -> dict[int, int]:
        """Slots for things that have none; what is in `keep` stays.

        They belong to the things once they are filled: `fill` or `release` them.
        """
        claimed: dict[int, int] = {}
        victims = (thing for thing in list(self._held) if thing not in keep)
        for thing in things:
            claimed[thing] = self._free.pop() if self._free else self._held.pop(next(victims))
        return claimed

    def fill(self, claimed: dict[int, int]) -> None:
        """Enter what `claim` gave: the slots hold these things now."""
        self._held.update(claimed)

    def release(self, claimed: dict[int, int]) -> None:
        """Give back what `claim` gave: the slots hold nothing."""
        self._free += claimed.values()
