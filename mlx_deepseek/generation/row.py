"""One request whose answer is being written."""

from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx

from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.generation.drafting.drafter import Drafter
from mlx_deepseek.generation.positional_sampler import PositionalSampler
from mlx_deepseek.generation.request import Request, Stopwatch

# Features that a row keeps for its drafter, before this takes them in.
MOST_FEATURES = 256


@dataclass(eq=False)
class DecodingRow:
    """Its tokens so far, in what `cache` holds, and what comes next.

    `pending` [1] is the token that the model sees next: the prompt's last, or the answer's last.
    As long as it is not `known`, nobody has been told of it. `features` [1, n, ...] are what the
    model made of the last tokens, which the drafter has not taken in yet.
    """

    job: Any
    request: Request
    cache: PromptCache
    watch: Stopwatch
    sampler: PositionalSampler = field(init=False)
    pending: mx.array = field(init=False)
    known: bool = True
    logprobs: mx.array | None = None  # [V], where the pending token's are wanted
    features: list[mx.array] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sampler = PositionalSampler(self.request)
        self.pending = self.request.numbers(len(self.request.ids) - 1, len(self.request.ids))[0]

    @property
    def drafter(self) -> Drafter | None:
        """What drafts for it."""
        return self.cache.drafter  # type: ignore[return-value]

    @property
    def begun(self) -> bool:
        """Whether the model has seen the whole prompt."""
        return bool(self.sampler.written) or not self.known

    @property
    def length(self) -> int:
        """Tokens that the model has seen or sees next."""
        return len(self.request.ids) + len(self.sampler.written)

    @property
    def left(self) -> int:
        """Tokens that may still be written."""
        return self.request.max_tokens - len(self.sampler.written)

    @property
    def ahead(self) -> list[mx.array]:
        """Tokens that nobody has been told of."""
        return [] if self.known else [self.pending]

    def embedding(self) -> mx.array | None:
        """The pending token's, where it is a part of a picture [1, 1, D]."""
        if self.begun or self.request.ids[-1] >= 0:
            return None
        return self.request.part(len(self.request.ids) - 1, len(self.request.ids))[1]

    def tell(self, token: int) -> None:
        """The pending token is known from now on."""
        self.known = True
        self.write([token])

    def write(self, tokens: list[int]) -> None:
        """Take note of tokens that are certain."""
        self.sampler.note(tokens)
        self.cache.ids += tokens

    def following(self) -> mx.array:
        """Tokens [1, n], as far as they are known, after those that `features` belong to."""
        first = self.cache.drafts[0].offset + 1
        count = sum(part.shape[1] for part in self.features)
        return mx.array([[max(token, 0) for token in self.cache.ids[first : first + count]]])

    def catch_up(self, keep: int = 0) -> None:
        """Let the drafter take in `features`, as far as the tokens after each are known.

        Of these, the last `keep` stay.
        """
        if not self.features or self.drafter is None:
            return
        following = self.following()
        count = following.shape[1] - keep
        features = mx.concatenate(self.features, axis=1)
        if count > 0:
            nothing: Any = None
            new = features[:, :count]
            self.drafter.draft(new, following[:, :count], 0, nothing, self.cache.drafts)
            mx.async_eval([cache.state for cache in self.cache.drafts])
        self.features = [features[:, count:]] if count < features.shape[1] else []
