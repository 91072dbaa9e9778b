"""The token loop: read the prompt piece by piece, then write, token by token or by drafts."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.generate import generate_step, wired_limit

from mlx_deepseek.cache import KeptCache
from mlx_deepseek.completion import Usage
from mlx_deepseek.layers.device import on_gpu
from mlx_deepseek.sampling import Sampling

__all__ = ["Request", "Sampling", "Step", "Stopwatch", "tokens"]

# Prompt tokens between two chances to stop; a CPU reads some hundred per second.
PIECE_GPU, PIECE_CPU = 2048, 256
# More tokens than mlx-lm's repetition penalty looks back on.
LOOK_BACK = 32


@dataclass(frozen=True)
class Request:
    """A prompt's tokens and how to go on from them; `max_tokens` is at least 1.

    Negative tokens are slots of pictures; `embed` makes embeddings [1, L, D] of such a part. `mask`
    is a logits processor that sees the prompt's last token and the answer.
    """

    ids: Sequence[int]
    max_tokens: int
    sampling: Sampling
    stop_ids: frozenset[int]
    embed: Callable[[Sequence[int]], mx.array] | None = None
    mask: Callable[[mx.array, mx.array], mx.array] | None = None

    def prompt_processors(self) -> list[Any]:
        """Logits processors that know the prompt too, of which mlx-lm's loops see one token."""
        words = [token for token in self.ids[-1 - LOOK_BACK : -1] if token >= 0]
        before = mx.array(words, dtype=mx.int32)

        def with_prompt(processor: Any) -> Any:
            return lambda ids, logits: processor(mx.concatenate([before, ids]), logits)

        knowing = [with_prompt(processor) for processor in self.sampling.processors()]
        return knowing if self.mask is None else [*knowing, self.mask]

    def part(self, start: int, end: int) -> tuple[mx.array, mx.array | None]:
        """Tokens [1, L] of a part of the prompt, and its embeddings where it shows a picture."""
        ids = self.ids[start:end]
        if self.embed is None or min(ids) >= 0:
            return mx.array([ids]), None
        tokens = [max(token, 0) for token in ids]  # only their number matters now
        return mx.array([tokens]), self.embed(ids)


@dataclass(frozen=True)
class Step:
    """One generated token; None while the prompt is read."""

    token: int | None
    usage: Usage


@dataclass
class Stopwatch:
    """Turns the moments of a generation into Usage."""

    prompt_tokens: int
    cached_tokens: int
    began_s: float = field(default_factory=time.perf_counter)
    first_s: float = 0.0
    count: int = 0
    drafted: int = 0
    accepted: int = 0

    def token(self) -> None:
        """Note that a token has come."""
        self.count += 1
        self.first_s = self.first_s or time.perf_counter()

    def usage(self) -> Usage:
        """The state at this moment."""
        prefill_s = self.first_s - self.began_s
        decode_s = time.perf_counter() - self.first_s
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.count,
            cached_tokens=self.cached_tokens,
            drafted_tokens=self.drafted,
            accepted_tokens=self.accepted,
            prompt_tps=(self.prompt_tokens - self.cached_tokens) / prefill_s if self.count else 0.0,
            # The first token belongs to reading the prompt.
            generation_tps=(self.count - 1) / decode_s if self.count > 1 else 0.0,
            peak_memory_bytes=mx.get_peak_memory(),
        )


def tokens(model: nn.Module, request: Request, kept: KeptCache) -> Generator[Step]:
    """Generate until a stop token, which comes too, or `max_tokens`.

    Call it on one thread from beginning to end. Whenever this is suspended, or closed, `kept` can
    go on from the prompt and the tokens so far.
    """
    stream = mx.default_stream(mx.default_device())  # this thread's
    with wired_limit(model, [stream]):  # Metal: weights stay where the GPU reads them
        mx.reset_peak_memory()
        try:
            yield from _tokens(model, request, kept, stream)
            kept.store()
        except GeneratorExit:
            kept.store()
            raise
        except BaseException:
            kept.clear()  # an interrupted step leaves layers of different lengths
            raise


def _tokens(model: Any, request: Request, kept: KeptCache, stream: mx.Stream) -> Generator[Step]:
    cached = kept.prepare(request.ids)
    watch = Stopwatch(len(request.ids), cached)
    drafter: Any = kept.drafter
    for _ in _read(model, request, cached, kept):
        yield Step(None, watch.usage())
    if drafter is None or request.mask is not None:  # a mask must see every token as it comes
        writing = write(model, request, kept, stream)
    else:
        writing = drafter.write(model, request, kept, watch)
    try:
        for token in writing:
            kept.ids.append(token)
            watch.token()
            yield Step(token, watch.usage())
            if token in request.stop_ids:
                return
    finally:
        writing.close()


def write(model: nn.Module, request: Request, kept: KeptCache, stream: mx.Stream) -> Generator[int]:
    """The tokens after the prompt, whose last one `kept` does not hold yet, by mlx-lm's loop."""
    last, embeddings = request.part(len(request.ids) - 1, len(request.ids))
    steps: Any = generate_step(
        last[0],
        model,
        stream,
        max_tokens=request.max_tokens,
        sampler=request.sampling.sampler(),
        logits_processors=request.prompt_processors(),
        prompt_cache=kept.layers,
        input_embeddings=None if embeddings is None else embeddings[0],
    )
    try:
        for token, _ in steps:
            yield token
    finally:
        steps.close()


def _read(model: Any, request: Request, cached: int, kept: KeptCache) -> Iterator[None]:
    """Take the prompt from token `cached` to the last but one into `kept`."""
    ids = request.ids
    drafter: Any = kept.drafter
    piece = PIECE_GPU if on_gpu() else PIECE_CPU
    for start in range(cached, len(ids) - 1, piece):
        end = min(start + piece, len(ids) - 1)
        part, embeddings = request.part(start, end)
        if drafter is None:
            model(part, cache=kept.layers, input_embeddings=embeddings)
        else:
            drafter.read(model, part, mx.array([ids[start + 1 : end + 1]]), kept)
        kept.evaluate()
        mx.clear_cache()
        yield
