"""The last rows of a sequence, and marks: rows kept aside to go back to where they were the last.

A window of tokens cannot be computed again without those before it. So a cache that forgets tokens
keeps, at some places, what it would need to go on from there.
"""

from collections.abc import Iterable

import mlx.core as mx

# Rows that a tail takes before it forgets the oldest: to forget is to copy.
ROOM = 256


class Tail:
    """Rows [B, n, W] of the last tokens: at least `keep` of them, fewer only at the beginning."""

    def __init__(self, keep: int):
        self.keep = keep
        self.rows: mx.array | None = None
        self.first = self.end = 0  # positions of the first row, and after the last

    def append(self, new: mx.array) -> None:
        """Add rows [B, L, W]."""
        held, length = self.end - self.first, new.shape[1]
        room = ROOM if length < ROOM else 0  # the next piece of a prompt would not fit anyway
        size = 0 if self.rows is None else self.rows.shape[1]
        if not held + length <= size <= self.keep + length + ROOM:
            kept = min(held, self.keep)
            grown = mx.zeros((new.shape[0], kept + length + room, new.shape[2]), new.dtype)
            if self.rows is not None:
                grown[:, :kept] = self.rows[:, held - kept : held]
            self.rows, self.first, held = grown, self.end - kept, kept
        assert self.rows is not None
        self.rows[:, held : held + length] = new
        self.end += length

    def since(self, position: int) -> mx.array:
        """Rows [B, end - position, W]."""
        return self.between(position, self.end)

    def between(self, start: int, end: int) -> mx.array:
        """Rows [B, end - start, W]."""
        assert self.rows is not None
        assert start >= self.first, "these rows are forgotten"
        return self.rows[:, start - self.first : end - self.first]

    def cut(self, position: int) -> None:
        """Forget the rows from `position` on."""
        self.end = position if self.rows is not None else 0
        self.first = min(self.first, self.end)

    def set(self, rows: mx.array, end: int) -> None:
        """Hold these rows [B, n, W], the last before position `end`."""
        self.rows, self.first, self.end = rows, end - rows.shape[1], end


def thinned(positions: Iterable[int], count: int) -> list[int]:
    """At most `count` of some positions in order: dense at both ends, the newer the longer kept."""
    kept = sorted(positions)
    while len(kept) > count:
        end = kept[-1]

        def loss(i: int, end: int = end) -> float:
            return (kept[i + 1] - kept[i - 1]) / (1 + min(kept[i], end - kept[i]))

        kept.pop(min(range(1, len(kept) - 1), key=loss))
    return kept
