"""Caches with compressed entries as rows of a batch: their groups close at different times."""

from typing import Any

import mlx.core as mx


class CompressedBatch:
    """Caches of one layer, a row of a batch each: their groups close at different times."""

    def __init__(self, rows: list[Any]):
        self.rows = rows

    @property
    def offset(self) -> mx.array:
        """Tokens [B] of each row so far."""
        return mx.array([row.offset for row in self.rows])

    def remember(self, tokens: mx.array, back: int) -> mx.array:
        """Add numbers [B, L, 1]; returns them after `back` earlier ones, -1 before the first."""
        whole = back + tokens.shape[1]
        rows = [row.remember(tokens[i : i + 1], back) for i, row in enumerate(self.rows)]
        widths = [[(0, 0), (whole - row.shape[1], 0), (0, 0)] for row in rows]
        padded = [mx.pad(r, w, constant_values=-1) for r, w in zip(rows, widths, strict=True)]
        return mx.concatenate(padded)

    def extend(self, other: "CompressedBatch") -> None:
        """Take in another batch's rows."""
        self.rows = self.rows + other.rows

    def filter(self, keep: mx.array) -> None:
        """Keep some rows, by their numbers."""
        numbers: Any = keep.tolist()
        self.rows = [self.rows[number] for number in numbers]

    @property
    def state(self) -> list[Any]:
        """What there is to evaluate."""
        return [row.state for row in self.rows]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(row.nbytes for row in self.rows)
