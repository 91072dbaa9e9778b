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

    def sampler(self) -> "Sampler":
        """A fresh sampler; with a seed, the same one every time."""
        return Sampler(self)

    def processors(self) -> list[Callable[[mx.array, mx.array], mx.array]]:
        """mlx-lm's logits processors."""
        return make_logits_processors(repetition_penalty=self.repetition_penalty)


class Sampler:
    """Log-probabilities [N, vocab] of successive tokens to tokens [N]; filters in mlx-lm's order.

    The noise of a token depends on the seed and on its number alone, not on what else was drawn.
    So a draft and the model, asked about the same token, choose alike wherever they can.
    """

    def __init__(self, sampling: Sampling):
        self.sampling = sampling
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        self._state = mx.random.key(seed)
        self._keys: list[mx.array] = []
        self._calls = 0

    def __call__(self, logprobs: mx.array) -> mx.array:
        """The next tokens, as mlx-lm asks for them."""
        self._calls += len(logprobs)
        return self.at(logprobs, self._calls - len(logprobs))

    def at(self, logprobs: mx.array, number: int) -> mx.array:
        """The tokens from `number` on, counted from 0 at the beginning of the generation."""
        sampling = self.sampling
        if not sampling.temperature:
            return greedy_sampler(logprobs)
        if sampling.top_p is not None and 0.0 < sampling.top_p < 1.0:
            logprobs = apply_top_p(logprobs, sampling.top_p)
        if sampling.min_p:
            logprobs = apply_min_p(logprobs, sampling.min_p)
        if 0 < sampling.top_k < logprobs.shape[-1]:
            logprobs = apply_top_k(logprobs, sampling.top_k)
        scaled = logprobs * (1.0 / sampling.temperature)
        # The likeliest after Gumbel noise is a sample (arXiv:1411.0030 §2).
        tokens = [
            mx.random.categorical(scaled[i : i + 1], key=self._key(number + i))
            for i in range(len(scaled))
        ]
        return tokens[0] if len(tokens) == 1 else mx.concatenate(tokens)

    def _key(self, number: int) -> mx.array:
        while len(self._keys) <= number:
            self._state, key = mx.random.split(self._state)
            self._keys.append(key)
        return self._keys[number]


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _check(name: str, value: Any, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise PromptError(f"Sampling: {name} is {value!r}. Expected {low} to {high}.")
