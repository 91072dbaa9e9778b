"""Several prompts decoded as one batch, in which rows come and go.

A prompt is read alone; then its row joins the others, padded on the left. So a row's tokens are
those that it would get alone, and no row waits for another to end.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
from mlx_lm.generate import wired_limit
from mlx_lm.models.cache import make_prompt_cache

from mlx_deepseek.generate import PIECE_CPU, PIECE_GPU, Request

Processor = Callable[[mx.array, mx.array], mx.array]


@dataclass(frozen=True)
class Token:
    """What was written for request `number`; `finish` is "" or, of its last one, the reason."""

    number: int
    token: int
    finish: str


@dataclass
class Row:
    """One request in the batch."""

    number: int
    request: Request
    sample: Any
    processors: list[Processor]
    tokens: list[int] = field(default_factory=list)

    def choose(self, logits: mx.array) -> mx.array:
        """The next token [1] by logits [1, vocab]."""
        for processor in self.processors:
            logits = processor(mx.array(self.tokens, dtype=mx.int32), logits)
        return self.sample(logits - mx.logsumexp(logits, keepdims=True))

    def take(self, token: int) -> Token:
        """Note a token."""
        self.tokens.append(token)
        ended = len(self.tokens) >= self.request.max_tokens
        finish = "stop" if token in self.request.stop_ids else "length" if ended else ""
        return Token(self.number, token, finish)


def decode(
    model: Any, requests: Iterator[Request], rows: int, processors: Sequence[Processor] = ()
) -> Generator[Token]:
    """The tokens of all requests, at most `rows` at a time; stop tokens come, too.

    A request is taken when there is room for it. `processors` change the logits [1, vocab] of each
    row, after its own. Call it on one thread from beginning to end.
    """
    batch = Batch(model, processors)
    numbered = enumerate(requests)
    with wired_limit(model, [mx.default_stream(mx.default_device())]):
        while True:
            while len(batch.rows) < rows and (found := next(numbered, None)) is not None:
                yield batch.add(*found)
            if not batch.rows:
                return
            yield from batch.step()


class Batch:
    """Rows with their caches; all of them get a token at a time."""

    def __init__(self, model: Any, processors: Sequence[Processor] = ()):
        self.model = model
        self.processors = processors
        self.rows: list[Row] = []
        self._caches: list[Any] = []

    def add(self, number: int, request: Request) -> Token:
        """Read a prompt and write its first token."""
        processors = [*request.prompt_processors(), *self.processors]
        row = Row(number, request, request.sampling.sampler(), processors)
        caches, logits = prefill(self.model, request)
        chosen: Any = row.choose(logits).item()
        token = row.take(chosen)
        if not token.finish:
            joining = [type(cache).merge([cache]) for cache in caches]
            for old, new in zip(self._caches, joining, strict=True) if self.rows else ():
                old.extend(new)
            self._caches = self._caches if self.rows else joining
            self.rows.append(row)
        return token

    def step(self) -> Iterator[Token]:
        """One more token for each row; rows that end leave."""
        last = mx.array([[row.tokens[-1]] for row in self.rows])
        logits = self.model(last, cache=self._caches)[:, -1]  # [B, vocab]
        chosen = [row.choose(logits[i : i + 1]) for i, row in enumerate(self.rows)]
        numbers: Any = mx.concatenate(chosen).tolist()
        tokens = [row.take(number) for row, number in zip(self.rows, numbers, strict=True)]
        keep = [i for i, token in enumerate(tokens) if not token.finish]
        if len(keep) < len(self.rows):
            self.rows = [self.rows[i] for i in keep]
            for cache in self._caches if keep else ():
                cache.filter(mx.array(keep))
        yield from tokens


def prefill(model: Any, request: Request) -> tuple[list[Any], mx.array]:
    """Caches that hold a prompt, and the logits [1, vocab] of what follows it."""
    caches, logits = make_prompt_cache(model), mx.array(0)
    piece = PIECE_GPU if mx.default_device().type == mx.DeviceType.gpu else PIECE_CPU
    for start in range(0, len(request.ids), piece):
        ids, embeddings = request.part(start, min(start + piece, len(request.ids)))
        seen = {} if embeddings is None else {"input_embeddings": embeddings}
        logits = model(ids, cache=caches, **seen)[:, -1]
        mx.eval(logits, [cache.state for cache in caches])
        mx.clear_cache()
    return caches, logits
