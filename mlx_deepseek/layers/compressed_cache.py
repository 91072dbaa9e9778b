"""The cache of one layer with compressed attention: a window of tokens, and entries of groups.

Three things are kept (DeepSeek-V4 §2.3): the rows of the last tokens; one row for every closed
group of `ratio` tokens (an entry; with an indexer also a key to find it by); and what groups that
are still open, or that the next one overlaps with, are made of. Only entries grow with the context.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map

from mlx_deepseek.layers.compressed_batch import CompressedBatch
from mlx_deepseek.layers.latent_cache import append, quant_format
from mlx_deepseek.layers.latent_kv import AnyLatentKV, LatentKV, QuantFormat, QuantizedLatentKV
from mlx_deepseek.layers.tail import Tail, thinned

# Tokens that can be taken back at any time, rejected drafts for example.
REWIND = 64
# A mark is made after more tokens than FEW at once, and every EVERY tokens; a cache keeps MARKS of
# them, and may go back from each by SLACK more tokens: drafters' caches lag behind.
FEW, EVERY, MARKS, SLACK = 8, 256, 24, 8
INDEX_BITS = 8  # of index keys, where entries take 8 or 4: what they choose is all that is read


@dataclass(frozen=True)
class EntryFormat:
    """How entries and index keys are quantized."""

    entries: QuantFormat
    index: QuantFormat | None


class CompressedCache:
    """Window rows, entries [B, 1, n, D], their index keys [B, 1, n, I], rows to make more from.

    `ratio` 0: there are no entries. With `overlap`, a group's entry depends on the group before it.
    `widths` are D and I (0: no keys here). With a `format` entries are quantized; rows are not.
    """

    def __init__(
        self,
        window: int,
        ratio: int = 0,
        *,
        overlap: bool = False,
        widths: tuple[int, int] = (0, 0),
        format: EntryFormat | None = None,
    ):
        self.reach_back = window - 1
        self.ratio, self.overlap, self.widths, self.format = ratio, overlap, widths, format
        self.window = Tail(window - 1 + REWIND)
        self.raw = Tail(ratio * (1 + overlap) + REWIND)
        self.tokens = Tail(REWIND)  # numbers [B, n, 1], for layers that look back at them
        self.looks_back = 0
        self.entries: Any = None
        self.index_keys: Any = None
        self.marks: dict[int, dict[str, mx.array]] = {}  # rows of each tail, by position
        self.offset = 0

    @property
    def closed(self) -> int:
        """Groups, of the tokens so far, that are complete."""
        return self.offset // self.ratio if self.ratio else 0

    def advance(self, tokens: int) -> None:
        """Count tokens whose rows have been appended."""
        before, self.offset = self.offset, self.offset + tokens
        places = range(before // EVERY * EVERY + EVERY, self.offset + 1, EVERY)
        new = {*places, self.offset} if tokens > FEW else {*places}
        if not new:
            return
        kept = thinned({*self.marks, *new}, MARKS)
        made = {place: self._mark(place) for place in new.intersection(kept)}
        if tokens <= FEW:  # nobody evaluates the cache soon, and pending marks hold old buffers
            mx.async_eval([list(mark.values()) for mark in made.values()])
        self.marks = {place: {**self.marks, **made}[place] for place in kept}

    def remember(self, tokens: mx.array, back: int) -> mx.array:
        """Add numbers [B, L, 1]; returns them after up to `back` earlier ones."""
        self.tokens.keep, self.looks_back = back + REWIND, back
        self.tokens.append(tokens)
        return self.tokens.since(max(self.offset - back, 0))

    def open_rows(self) -> tuple[mx.array, int]:
        """Raw rows from the first group on that `closed` does not count, or that it overlaps with.

        And how many groups before the very first token are missing among them.
        """
        first = self.closed - self.overlap
        return self.raw.since(max(first, 0) * self.ratio), max(-first, 0)

    def add_entries(self, entries: mx.array, index_keys: mx.array | None) -> None:
        """Keep entries [B, n, D] of the groups after the `closed` ones, and their index keys."""
        form = self.format
        packed = entries[:, None] if form is None else form.entries.pack(entries[:, None])
        self.entries = append(self.entries, packed, self.closed)
        if index_keys is not None:
            keys = index_keys[:, None]
            packed = keys if form is None or form.index is None else form.index.pack(keys)
            self.index_keys = append(self.index_keys, packed, self.closed)

    def read_entries(self, count: int) -> tuple[AnyLatentKV | None, AnyLatentKV | None]:
        """The first `count` entries and their index keys; None where there are none."""
        form = self.format
        index = None if form is None else form.index
        return (
            rows_of(self.entries, count, form and form.entries),
            rows_of(self.index_keys, count, index),
        )

    @property
    def stored(self) -> dict[str, Any]:
        """Rows of groups, each of `ratio` tokens, by the names of their attributes."""
        held = {"entries": self.entries, "index_keys": self.index_keys}
        return {name: rows for name, rows in held.items() if rows is not None}

    def reach(self, position: int) -> int:
        """The last position, at most `position`, that the cache can go back to."""
        if self._holds(position):
            return position
        if any(position <= place <= position + SLACK for place in self.marks):
            return position
        return max((place for place in self.marks if place <= position), default=0)

    def _holds(self, position: int) -> bool:
        """Whether the tails have what tokens from `position` on need."""
        return all(
            tail.rows is None or tail.first <= max(start, 0)
            for tail, start in zip(self.tails.values(), self._starts(position), strict=True)
        )

    def _starts(self, position: int) -> list[int]:
        """From which token on the rows of each tail are needed to go on from `position`."""
        ratio = max(self.ratio, 1)
        group = ratio * (position // ratio - self.overlap) if self.ratio else position
        return [position - self.reach_back, group, position - self.looks_back]

    def _mark(self, position: int) -> dict[str, mx.array]:
        """Copies of what is needed to go on from `position`, or from a little before."""
        starts = zip(self.tails.items(), self._starts(max(position - SLACK, 0)), strict=True)
        return {
            name: mx.contiguous(tail.between(max(start, tail.first, 0), position))
            for (name, tail), start in starts
            if tail.rows is not None
        }

    def tail_at(self, position: int) -> Mapping[str, mx.array] | None:
        """What there must be, beside entries, to go on from `position`; None: it is forgotten."""
        if position != self.offset:
            return self.marks.get(position)
        return self._mark(position)

    def go_on(self, position: int, tail: Mapping[str, mx.array]) -> None:
        """Stand at `position`, with such a tail; entries are those of the groups before."""
        self.offset = position
        for name, own in self.tails.items():
            if name in tail:
                own.set(tail[name], position)
            else:
                own.cut(position)
        self.marks = {place: mark for place, mark in self.marks.items() if place < position}
        self.marks[position] = dict(tail)

    def to_quantized(self, group_size: int = 64, bits: int = 4) -> "CompressedCache":
        """An empty cache that quantizes its entries, in groups as their widths allow.

        Raises:
            ConfigError: other bits than 4 and 8, or a width that does not divide into groups of 32.
        """
        assert self.empty(), "entries are quantized as they are made"
        width, keys = self.widths
        form = None
        if width:
            index = quant_format(keys, INDEX_BITS) if keys else None
            form = EntryFormat(quant_format(width, bits), index)
        return CompressedCache(
            self.reach_back + 1, self.ratio, overlap=self.overlap, widths=self.widths, format=form
        )

    def is_trimmable(self) -> bool:
        """Whether the last tokens, up to REWIND of them, can be taken back."""
        return True

    def trim(self, n: int) -> int:
        """Forget the last n tokens; returns how many were forgotten.

        More than asked for, where the position wanted is out of reach.
        """
        position = self.reach(max(self.offset - n, 0))
        forgotten = self.offset - position
        if self._holds(position):
            self.offset = position
            for tail in self.tails.values():
                tail.cut(position)
            self.marks = {place: m for place, m in self.marks.items() if place <= position}
            return forgotten
        place = min((place for place in self.marks if place >= position), default=0)
        mark = self.marks.get(place, {})
        self.go_on(position, {name: cut_off(rows, place - position) for name, rows in mark.items()})
        return forgotten

    @property
    def tails(self) -> dict[str, Tail]:
        """What is kept of the last tokens, by name."""
        return {"window": self.window, "raw": self.raw, "tokens": self.tokens}

    @property
    def state(self) -> Sequence[Any]:
        """What there is to evaluate."""
        rows = [tail.rows for tail in self.tails.values() if tail.rows is not None]
        held = [rows, self.entries, self.index_keys, list(self.marks.values())]
        return [value for value in held if value is not None]

    @property
    def nbytes(self) -> int:
        """Bytes held, room to grow and marks included."""
        return sum(array.nbytes for _, array in tree_flatten(list(self.state)))  # type: ignore[misc]

    def size(self) -> int:
        """Tokens read."""
        return self.offset

    def empty(self) -> bool:
        """Whether nothing was ever appended."""
        return self.window.rows is None

    @classmethod
    def merge(cls, caches: Sequence["CompressedCache"]) -> "CompressedBatch":
        """The caches as rows of a batch."""
        return CompressedBatch(list(caches))


def rows_of(held: Any, count: int, form: QuantFormat | None) -> AnyLatentKV | None:
    """The first `count` rows of a buffer, packed or not; None without any."""
    if held is None or not count:
        return None
    first = tree_map(lambda array: array[:, :, :count], held)
    return LatentKV(first) if form is None else QuantizedLatentKV([first], [form])


def cut_off(rows: mx.array, count: int) -> mx.array:
    """Rows [B, n, W] without the last `count`."""
    return rows[:, : rows.shape[1] - count]
