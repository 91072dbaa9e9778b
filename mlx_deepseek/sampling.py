"""How the next token is chosen: mlx-lm's filters, and a random key of its own per generation."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
from mlx_lm.sample_utils import (
    apply_min_p,
    apply_top_k,
    apply_top_p,
    greedy_sampler,
    make_logits_processors,
)

from mlx_deepseek.errors import PromptError

Sampler = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class Sampling:
    """None takes the checkpoint's recommended value; `temperature` 0 always takes the likeliest.

    `top_k` 0, `top_p` 1 and `min_p` 0 are off. A `seed` makes a generation repeatable on the same
    machine, whatever else the process generates.

    Raises:
        PromptError: a value outside its range.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0.0, 100.0)
        _check("top_p", self.top_p, 0.0, 1.0)
        _check("top_k", self.top_k, 0, 2**31)
        _check("min_p", self.min_p, 0.0, 1.0)
        _check("repetition_penalty", self.repetition_penalty, 0.01, 100.0)
        _check("seed", self.seed, 0, 2**64 - 1)

    def filled(self, temperature: float | None, top_p: float | None) -> "Sampling":
        """With recommended values where none was chosen; greedy where nothing is recommended."""
        return replace(
            self,
            temperature=_first(self.temperature, temperature, 0.0),
            top_p=_first(self.top_p, top_p, 1.0),
        )

    def sampler(self) -> Sampler:
        """Log-probabilities [B, vocab] to tokens [B]; filters in mlx-lm's order."""
        if not self.temperature:
            return greedy_sampler
        temperature, top_p = self.temperature, self.top_p
        seed = secrets.randbits(63) if self.seed is None else self.seed
        key = mx.random.key(seed)

        def sample(logprobs: mx.array) -> mx.array:
            nonlocal key
            if top_p is not None and 0.0 < top_p < 1.0:
                logprobs = apply_top_p(logprobs, top_p)
            if self.min_p:
                logprobs = apply_min_p(logprobs, self.min_p)
            if 0 < self.top_k < logprobs.shape[-1]:
                logprobs = apply_top_k(logprobs, self.top_k)
            key, now = mx.random.split(key)
            return mx.random.categorical(logprobs * (1.0 / temperature), key=now)

        return sample

    def processors(self) -> list[Callable[[mx.array, mx.array], mx.array]]:
        """mlx-lm's logits processors."""
        return make_logits_processors(repetition_penalty=self.repetition_penalty)


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _check(name: str, value: Any, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise PromptError(f"Sampling: {name} is {value!r}. Expected {low} to {high}.")
