"""How the next token is chosen: mlx-lm's filters, and a random key of its own per generation."""

import operator
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import mlx.core as mx
from mlx_lm.sample_utils import (
    apply_min_p,
    apply_top_k,
    apply_top_p,
    greedy_sampler,
    make_frequency_penalty,
    make_logits_processors,
    make_presence_penalty,
)

from mlx_deepseek.errors import PromptError

# Changes logits [1, V] after the answer's tokens so far [n].
Processor = Callable[[mx.array, mx.array], mx.array]
# Below this, what is likeliest is all that is ever chosen, and float32 would overflow.
COLDEST = 1e-5
# Tokens of the prompt and the answer on which mlx-lm's repetition penalty looks back.
LOOK_BACK = 20
WHOLE = 1 << 30


@dataclass(frozen=True)
class Sampling:
    """None takes the checkpoint's recommended value; `temperature` 0 always takes the likeliest.

    `top_k` 0, `top_p` 1 and `min_p` 0 are off; `top_p` 0 takes the likeliest. `repetition_penalty`
    divides the logits of the last 20 tokens, prompt included; `presence_penalty` and
    `frequency_penalty` are the OpenAI API's, over the answer. `logit_bias` is added to the logits
    of tokens by number. A `seed` makes a generation repeatable on the same machine, whatever else
    the process generates. `sampler` chooses the next token [1] from log-probabilities [1, V] in
    place of all that; `processors` change the logits [1, V] that follow the answer's tokens so far
    [n] before anything is chosen.

    Raises:
        PromptError: a value of another type, or outside its range.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float | None = None
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    sampler: Callable[[mx.array], mx.array] | None = None
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        for name, (low, high, kind) in RANGES.items():
            value = getattr(self, name)
            default = SAMPLING_DEFAULTS[name]
            checked = default if value is None else number(name, value, low, high, kind)
            object.__setattr__(self, name, checked)
        object.__setattr__(self, "logit_bias", biases(self.logit_bias))
        given = [self.processors] if callable(self.processors) else list(self.processors or ())
        for processor in [*given, *([] if self.sampler is None else [self.sampler])]:
            if not callable(processor):
                raise PromptError(f"Sampling: {processor!r:.60} is no function.")
        object.__setattr__(self, "processors", tuple(given))

    def filled(self, temperature: float | None, top_p: float | None) -> "Sampling":
        """With recommended values where none was chosen; greedy where nothing is recommended."""
        return replace(
            self,
            temperature=_first(self.temperature, temperature, 0.0),
            top_p=_first(self.top_p, top_p, 1.0),
        )

    @property
    def positional(self) -> bool:
        """Whether each token can be chosen by its place alone, in any order, as drafting does."""
        return self.sampler is None and not self.processors

    def new_sampler(self) -> Any:
        """A fresh sampler; with a seed, the same one every time."""
        return self.sampler or Sampler(self)

    def new_processors(self, prompt: Sequence[int] = ()) -> list[Processor]:
        """Logits processors for an answer to `prompt`, in the order in which they are applied."""
        found: list[Processor] = []
        if self.logit_bias:
            found += make_logits_processors(logit_bias=dict(self.logit_bias))
        if self.repetition_penalty is not None:
            (repeated,) = make_logits_processors(
                repetition_penalty=self.repetition_penalty, repetition_context_size=LOOK_BACK
            )
            words = [token for token in prompt[-LOOK_BACK:] if token >= 0]
            before = mx.array(words, dtype=mx.int32)
            found.append(lambda answer, logits: repeated(mx.concatenate([before, answer]), logits))
        if self.presence_penalty:
            found.append(make_presence_penalty(self.presence_penalty, WHOLE))
        if self.frequency_penalty:
            found.append(make_frequency_penalty(self.frequency_penalty, WHOLE))
        return [*found, *self.processors]


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

    @property
    def filters(self) -> tuple[float, ...]:
        """What `scaled` depends on: samplers with the same can be asked together."""
        chosen = self.sampling
        top_p = 1.0 if chosen.top_p is None else chosen.top_p
        return chosen.temperature or 0.0, top_p, chosen.min_p, chosen.top_k

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always chosen, of logits as of log-probabilities."""
        temperature, top_p, *_ = self.filters
        return temperature < COLDEST or top_p == 0.0

    def at(self, logprobs: mx.array, number: int) -> mx.array:
        """The tokens from `number` on, counted from 0 at the beginning of the generation."""
        if self.greedy:
            return greedy_sampler(logprobs)
        scaled = self.scaled(logprobs)
        tokens = [self.draw(scaled[i : i + 1], number + i) for i in range(len(scaled))]
        return tokens[0] if len(tokens) == 1 else mx.concatenate(tokens)

    def scaled(self, logprobs: mx.array) -> mx.array:
        """Log-probabilities [N, vocab] filtered, and divided by the temperature."""
        temperature, top_p, min_p, top_k = self.filters
        if top_p < 1.0:
            logprobs = apply_top_p(logprobs, top_p)
        if min_p:
            logprobs = apply_min_p(logprobs, min_p)
        if 0 < top_k < logprobs.shape[-1]:
            logprobs = apply_top_k(logprobs, int(top_k))
        return logprobs * (1.0 / temperature)

    def draw(self, scaled: mx.array, number: int) -> mx.array:
        """The token [1] of `number` by what `scaled` gives [1, vocab]."""
        # The likeliest after Gumbel noise is a sample (arXiv:1411.0030 §2).
        return mx.random.categorical(scaled, key=self._key(number))

    def _key(self, number: int) -> mx.array:
        while len(self._keys) <= number:
            self._state, key = mx.random.split(self._state)
            self._keys.append(key)
        return self._keys[number]


RANGES: Mapping[str, tuple[float, float, type]] = {
    "temperature": (0.0, 100.0, float),
    "top_p": (0.0, 1.0, float),
    "top_k": (0, 2**31, int),
    "min_p": (0.0, 1.0, float),
    "repetition_penalty": (0.01, 100.0, float),
    "seed": (0, 2**64 - 1, int),
    "presence_penalty": (-2.0, 2.0, float),
    "frequency_penalty": (-2.0, 2.0, float),
}
SAMPLING_DEFAULTS = {one.name: one.default for one in fields(Sampling)}


def number(name: str, value: Any, low: float, high: float, kind: type = float) -> Any:
    """`value` as a number of `kind`, int or float, from `low` to `high`.

    Raises:
        PromptError: it is none.
    """
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        found = operator.index(value) if kind is int else float(value)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or not low <= found <= high:
        whole = "a whole number from " if kind is int else ""
        raise PromptError(f"{name} is {value!r:.60}. Expected {whole}{low} to {high}.")
    return found


def biases(value: Any) -> dict[int, float]:
    """What is added to logits, by token number; the API writes the numbers as text."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PromptError(f"logit_bias is {value!r:.60}. Expected a dict of token numbers.")
    return {
        number("a token of logit_bias", int(t) if f"{t}".isdecimal() else t, 0, 2**31, int): number(
            f"the logit_bias of token {t}", bias, -100.0, 100.0
        )
        for t, bias in value.items()
    }


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
