"""Chooses each token with a key of its position, whether it is drafted, verified or decoded."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.sampling import Sampler


class PositionalSampler:
    """The token at each position after a prompt, from the model's logits or from a drafter's."""

    def __init__(self, request: Request):
        self.written: list[int] = []
        self.sampler = request.sampling.new_sampler()
        self.processors = request.processors()
        self.error: Exception | None = None  # of a processor or a sampler, in a batch
        self._history = mx.array([], dtype=mx.int32)

    def __call__(self, logits: mx.array, ahead: Sequence[mx.array], drafts: int = 0) -> mx.array:
        """Tokens [N] of logits [N, vocab]: the last comes after those written and `ahead`.

        `ahead` are tokens [1] that may turn out wrong; N is 1 + `drafts`, and each row precedes
        the next by one token of `ahead`.
        """
        return self.chosen(self.processed(logits, ahead, drafts), len(ahead) - drafts)

    def processed(self, logits: mx.array, ahead: Sequence[mx.array], drafts: int = 0) -> mx.array:
        """The logits [N, vocab] that tokens are chosen by."""
        if not self.processors:
            return logits
        first = len(ahead) - drafts
        rows = []
        for i in range(drafts + 1):
            known = ahead[: first + i]
            ids = mx.concatenate([self._history, *known]) if known else self._history
            row = logits[i : i + 1]
            for processor in self.processors:
                row = processor(ids, row)
            rows.append(row)
        return rows[0] if len(rows) == 1 else mx.concatenate(rows)

    def chosen(self, logits: mx.array, ahead: int) -> mx.array:
        """Tokens [N] of processed logits; the first comes `ahead` tokens after those written."""
        if not isinstance(self.sampler, Sampler):
            return self.sampler(normalised(logits))
        if self.sampler.greedy:
            return self.sampler.at(logits, 0)
        return self.sampler.at(normalised(logits), len(self.written) + ahead)

    def allowed(self, logits: mx.array, ahead: Sequence[mx.array]) -> mx.array:
        """As `processed`, of a row of a batch: what a processor raises is the row's `error`."""
        try:
            return self.processed(logits, ahead)
        except Exception as error:
            self.error = error
            return logits

    @property
    def filters(self) -> tuple[float, ...] | None:
        """What tells whether rows can be chosen for together; None: not with any other."""
        if not isinstance(self.sampler, Sampler):
            return None
        return () if self.sampler.greedy else self.sampler.filters

    def note(self, new: list[int]) -> None:
        """Take note of tokens that are certain."""
        self.written += new
        if self.processors:
            self._history = mx.concatenate([self._history, mx.array(new, dtype=mx.int32)])


def normalised(logits: mx.array) -> mx.array:
    """Log-probabilities [N, vocab]."""
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def choose_for(
    rows: Sequence[PositionalSampler], logits: mx.array, ahead: Sequence[int]
) -> mx.array:
    """A token [B] for each row of processed logits [B, vocab], `ahead` of its written tokens.

    Rows with the same filters are computed together, each with its own noise.
    """
    groups: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        own = row.filters
        groups.setdefault(f"row {i}" if own is None else own, []).append(i)
    found: dict[int, mx.array] = {}
    for filters, members in groups.items():
        some = logits if len(members) == len(rows) else logits[mx.array(members)]
        first = rows[members[0]]
        if filters == ():
            tokens = first.chosen(some, 0)
            if len(members) == len(rows):
                return tokens
            found |= zip(members, mx.split(tokens, len(members)), strict=True)
        elif isinstance(filters, str):
            found[members[0]] = own_choice(first, some, ahead[members[0]])
        else:
            scaled = first.sampler.scaled(normalised(some))
            for place, i in enumerate(members):
                number = len(rows[i].written) + ahead[i]
                found[i] = rows[i].sampler.draw(scaled[place : place + 1], number)
    return mx.concatenate([found[i] for i in range(len(rows))])


def own_choice(row: PositionalSampler, logits: mx.array, ahead: int) -> mx.array:
    """The token [1] of a caller's own sampler; what it raises is the row's `error`."""
    try:
        return row.chosen(logits, ahead).reshape(1)
    except Exception as error:
        row.error = error
        return logits.argmax(-1)
