"""One generation asked for, its tokens as they come, and its times."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx

from mlx_deepseek.generation.results import Usage
from mlx_deepseek.generation.sampling import Processor, Sampling
from mlx_deepseek.layers.expert_slots import Traffic
from mlx_deepseek.vision.picture_slots import model_token


@dataclass(frozen=True)
class Request:
    """A prompt's tokens and how to go on from them; `max_tokens` is at least 1.

    Negative tokens are slots of pictures; `embed` makes embeddings [1, L, D] of such a part. `mask`
    is a logits processor, `guard` one that keeps nothing in mind, so that drafts may come with it.
    Of every token the log-probability is wanted and those of the `logprobs` likeliest, unless that
    is None.
    """

    ids: Sequence[int]
    max_tokens: int
    sampling: Sampling
    stop_ids: frozenset[int]
    embed: Callable[[Sequence[int]], mx.array] | None = None
    mask: Processor | None = None
    guard: Processor | None = None
    logprobs: int | None = None

    @property
    def drafts(self) -> bool:
        """Whether tokens may be drafted; if not, each is chosen when all before it are known."""
        return self.mask is None and self.logprobs is None and self.sampling.positional

    def processors(self) -> list[Processor]:
        """Fresh logits processors, which are called with the answer's tokens so far [n]."""
        found = self.sampling.new_processors(self.ids)
        return [*found, *(own for own in (self.guard, self.mask) if own is not None)]

    def part(self, start: int, end: int) -> tuple[mx.array, mx.array | None]:
        """Tokens [1, L] of a part of the prompt, and its embeddings where it shows a picture."""
        ids = self.ids[start:end]
        embed = self.embed if min(ids) < 0 else None
        return self.numbers(start, end), None if embed is None else embed(ids)

    def numbers(self, start: int, end: int) -> mx.array:
        """Tokens [1, L] of a part of the prompt as the model is told them; slots are 0 or less."""
        return mx.array([[model_token(token) for token in self.ids[start:end]]])


@dataclass(frozen=True)
class GeneratedToken:
    """One generated token; None while the prompt is read.

    `logprobs`, if wanted: its number and log-probability, then those of the likeliest.
    """

    token: int | None
    usage: Usage
    logprobs: Sequence[tuple[int, float]] = ()


@dataclass
class Stopwatch:
    """Turns the moments of a generation into Usage; `traffic` is its model's, as it grows."""

    prompt_tokens: int
    cached_tokens: int
    traffic: Traffic | None = None
    began_s: float = field(default_factory=time.perf_counter)
    first_s: float = 0.0
    count: int = 0
    drafted: int = 0
    accepted: int = 0
    before: Traffic = field(default_factory=Traffic)  # when the first token was there

    def token(self) -> None:
        """Note that a token has come."""
        if self.count == 0 and self.traffic is not None:
            self.before = replace(self.traffic)
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
            **self.reading(decode_s),
        )

    def reading(self, decode_s: float) -> dict[str, Any]:
        """What experts on disk have cost since the first token."""
        if self.traffic is None or self.count < 2:
            return {}
        done = self.traffic.since(self.before)
        return {
            "expert_hit_rate": done.hit_rate,
            "disk_bytes_per_token": done.read_bytes / (self.count - 1),
            "waiting_share": min(done.wait_s / decode_s, 1.0),
        }
