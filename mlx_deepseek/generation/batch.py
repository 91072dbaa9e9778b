"""Rows that are decoded together: each gets a token per step, whoever else comes and goes.

The next step is computed while the tokens of the last one are told. A row alone stays in its own
caches, and may be drafted for; several are padded on the left (`cache.padded_batch`).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import can_trim_prompt_cache

from mlx_deepseek.cache.padded_batch import CacheBatch, can_batch, shared_tokens
from mlx_deepseek.generation.drafting.verify import draft_and_verify
from mlx_deepseek.generation.positional_sampler import choose_for, normalised
from mlx_deepseek.generation.row import MOST_FEATURES, DecodingRow

# Tokens in a row without drafts, and as a trial of how fast that is.
PLAIN_TOKENS, TRIAL_TOKENS = 64, 8
# Rows this long may be padded to any length; longer ones to at most so many times their own.
SHORT_TOKENS, MOST_PADDING = 2048, 4


@dataclass(frozen=True)
class WrittenToken:
    """What was written for a row, and its log-probability and the likeliest, if wanted."""

    row: DecodingRow
    token: int
    logprobs: Sequence[tuple[int, float]] = ()


class DecodingBatch:
    """One row, or several with caches that can be padded."""

    def __init__(self, model: Any, row: DecodingRow):
        self.model = model
        self.rows = [row]
        self._caches: CacheBatch | None = None  # of several rows
        self._chosen: mx.array | None = None  # [B], all rows' pending tokens at once
        self._plain_left = 0  # tokens that are not drafted
        self._plain_count, self._plain_began = 0, 0.0

    def takes(self, other: "DecodingBatch") -> bool:
        """Whether the rows of another batch can come into this one."""
        if not (self._ready and other._ready) or self.rows[0].drafter is not other.rows[0].drafter:
            return False
        lengths = [row.length for row in (*self.rows, *other.rows)]
        return max(lengths) <= max(SHORT_TOKENS, MOST_PADDING * min(lengths))

    def absorb(self, others: Sequence["DecodingBatch"]) -> None:
        """Take the rows of other batches, which are of no use afterwards."""
        joining: list[Any] = []
        for batch in (self, *others):
            batch._part()
        for batch in [self, *others]:
            if batch._caches is None:
                joining.append(batch.rows[0].cache.release())
            elif batch is not self:
                joining += [batch._caches.extract(i) for i in range(len(batch.rows))]
        self.rows = [row for batch in (self, *others) for row in batch.rows]
        seen = min(row.length for row in self.rows) - 1
        shared = shared_tokens(joining[0], [row.cache.ids for row in self.rows], seen - 1)
        if self._caches is None:
            self._caches = CacheBatch(joining, shared)
        else:
            self._caches.extend(joining, shared)
        self._plain_left = 0

    def step(self) -> list[WrittenToken]:
        """The next tokens; none for rows that have just come."""
        if len(self.rows) == 1 and (depth := self._depth(self.rows[0])):
            return self._drafted(self.rows[0], depth)
        return self._stepped()

    def remove(self, rows: Sequence[DecodingRow]) -> None:
        """Let rows go; each has its caches again, as if it had been alone."""
        self._part()
        going = set(map(id, rows))
        keep = [i for i, row in enumerate(self.rows) if id(row) not in going]
        if self._caches is not None:
            for i, row in enumerate(self.rows):
                if id(row) in going or len(keep) < 2:
                    row.cache.layers = self._caches.extract(i)
            if len(keep) < 2:
                self._caches = None
            else:
                self._caches.filter(keep)
        self.rows = [self.rows[i] for i in keep]

    def copy(self, row: DecodingRow) -> list[Any]:
        """The caches of a row, for somebody else."""
        if self._caches is None:
            return row.cache.layers
        return self._caches.extract(self.rows.index(row))

    @property
    def _ready(self) -> bool:
        """Whether its rows can be padded: the model has seen of each at least one token."""
        return self._caches is not None or can_batch(self.rows[0].cache.layers)

    def _depth(self, row: DecodingRow) -> int:
        """How many tokens to draft now; 0: to decode."""
        drafts = row.drafter is not None and row.request.drafts and row.features
        if not drafts or row.left < 2 or not can_trim_prompt_cache(row.cache.caches):
            return 0
        if self._plain_left:
            return 0
        length: Any = row.drafter.length  # type: ignore[union-attr]
        depth = min(length.next(), row.left - 1)
        if depth == 0:
            count = PLAIN_TOKENS if length.best == 0 else TRIAL_TOKENS
            self._plain_left = self._plain_count = min(row.left, count)
            self._plain_began = time.perf_counter()
        return depth

    def _drafted(self, row: DecodingRow, depth: int) -> list[WrittenToken]:
        self._part()
        waiting: Any = [] if row.known else row.pending.tolist()
        if waiting:
            row.tell(waiting[0])
            if row.left == 0 or waiting[0] in row.request.stop_ids:
                return [WrittenToken(row, waiting[0])]
            depth = min(depth, row.left - 1)
        if depth == 0:
            return [WrittenToken(row, waiting[0])]
        new = draft_and_verify(self.model, row, depth)
        row.write(new)
        return [WrittenToken(row, token) for token in (*waiting, *new)]

    def _stepped(self) -> list[WrittenToken]:
        """A step of the model, and the tokens that were chosen in the one before."""
        before = [(row, row.logprobs) for row in self.rows if not row.known]
        chosen = self._chosen
        if chosen is None and before:
            chosen = mx.concatenate([row.pending for row, _ in before])
        if more := any(row.known or row.left > 1 for row in self.rows):
            self._forward()
        told: list[WrittenToken] = []
        if chosen is not None:
            tokens: Any = chosen.tolist()
            for (row, logprobs), token in zip(before, tokens, strict=True):
                row.tell(token)
                row.known = not more
                wanted = row.request.logprobs
                found = () if wanted is None else likeliest(logprobs, token, wanted)
                told.append(WrittenToken(row, token, found))
        self._count_plain(len(told))
        return told

    def _forward(self) -> None:
        """Let the model see what is pending; what it chooses is pending then, and computed."""
        rows = self.rows
        pending = self._chosen
        if pending is None:
            pending = mx.concatenate([row.pending for row in rows])
        elif any(row.sampler.processors for row in rows):
            self._part()  # who looks back wants to know its own
        layers = rows[0].cache.layers if self._caches is None else self._caches.layers
        embeddings = self._embeddings(pending)
        drafter = rows[0].drafter
        if drafter is not None:
            logits, features = drafter.forward(self.model, pending[:, None], layers, embeddings)
            for i, row in enumerate(rows):
                row.features.append(features[i : i + 1])
        else:
            seen = {} if embeddings is None else {"input_embeddings": embeddings}
            logits = self.model(pending[:, None], cache=layers, **seen)
        logits = logits[:, -1]  # [B, vocab]
        if any(row.sampler.processors for row in rows):
            mx.async_eval(logits)  # meanwhile grammars find out what is allowed
            own = [r.sampler.allowed(logits[i : i + 1], r.ahead) for i, r in enumerate(rows)]
            logits = own[0] if len(rows) == 1 else mx.concatenate(own)
        for i, row in enumerate(rows):
            if row.request.logprobs is not None:
                row.logprobs = normalised(logits[i : i + 1])[0]
        chosen = choose_for([row.sampler for row in rows], logits, [len(row.ahead) for row in rows])
        self._chosen = chosen
        for row in rows:
            row.known = False
        wanted = [row.logprobs for row in rows if row.logprobs is not None]
        mx.async_eval(chosen, wanted, [row.features for row in rows])

    def _part(self) -> None:
        """Give each row its own pending token."""
        if self._chosen is not None:
            for i, row in enumerate(self.rows):
                row.pending = self._chosen[i : i + 1]
            self._chosen = None

    def _embeddings(self, pending: mx.array) -> mx.array | None:
        own = [row.embedding() for row in self.rows]
        if all(embedding is None for embedding in own):
            return None
        words = self.model.embed(pending[:, None])
        parts = [words[i : i + 1] if e is None else e for i, e in enumerate(own)]
        return mx.concatenate(parts)

    def _count_plain(self, told: int) -> None:
        """Account for tokens of a single row without drafts."""
        for row in self.rows:
            if len(row.features) >= MOST_FEATURES:
                row.catch_up()
        if self._plain_left and told:
            self._plain_left -= 1
            if not self._plain_left:
                seconds = time.perf_counter() - self._plain_began
                length: Any = self.rows[0].drafter.length  # type: ignore[union-attr]
                length.note(0, 0, seconds / self._plain_count)


def gathered(batches: Sequence[DecodingBatch]) -> list[DecodingBatch]:
    """The same rows in as few batches as they can be in."""
    kept: list[tuple[DecodingBatch, list[DecodingBatch]]] = []
    for batch in batches:
        for target, joining in kept:
            if all(one.takes(batch) for one in (target, *joining)):
                joining.append(batch)
                break
        else:
            kept.append((batch, []))
    for target, joining in kept:
        if joining:
            target.absorb(joining)
    return [target for target, _ in kept]


def likeliest(logprobs: Any, token: int, count: int) -> list[tuple[int, float]]:
    """Of log-probabilities [V] that of `token`, then the `count` largest, largest first."""
    order: Any = mx.argsort(-logprobs)[:count].tolist() if count else []
    numbers = [token, *order]
    values: Any = logprobs[mx.array(numbers)].tolist()
    return list(zip(numbers, values, strict=True))
