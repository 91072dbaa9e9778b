"""What OpenAI's chat and text completions share: options of sampling, usage, log-probabilities."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import Field

from mlx_deepseek import __version__
from mlx_deepseek.generation.results import TokenLogprob, Usage
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.request import Body, given
from mlx_deepseek_app.server.settings import ServerSettings

FINGERPRINT = f"mlx_deepseek_{__version__}"
MOST_LOGPROBS = 20
MOST_STOPS = 256


class StreamOptions(Body):
    """`include_usage`: one more chunk at the end counts the tokens."""

    include_usage: bool | None = None


class SamplingBody(Body):
    """How tokens are chosen; what is left out is as the model's authors recommend."""

    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=0, le=1 << 31)
    n: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = Field(default=None, max_length=MOST_STOPS)
    seed: int | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0, lt=2**31)
    min_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=100)
    logit_bias: dict[str, float] | None = None

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts its tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, settings: ServerSettings) -> dict[str, Any]:
        """The engine's options.

        Raises:
            ApiError: more answers than are permitted.
        """
        if (self.n or 1) > settings.answers:
            raise ApiError(f"n is {self.n}. Expected at most {settings.answers}.", param="n")
        return given(
            max_tokens=self.max_tokens or None,
            stop=self.stop,
            seed=None if self.seed is None else self.seed % 2**63,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            repetition_penalty=self.repetition_penalty,
            logit_bias=self.logit_bias,
        )


def usage(counts: Sequence[Usage]) -> dict[str, Any]:
    """Tokens of all answers to one prompt, with DeepSeek's counts of its cache."""
    first = counts[0] if counts else Usage()
    written = sum(one.completion_tokens for one in counts)
    return {
        "prompt_tokens": first.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": first.prompt_tokens + written,
        "prompt_tokens_details": {"cached_tokens": first.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": sum(one.reasoning_tokens for one in counts)
        },
        "prompt_cache_hit_tokens": first.cached_tokens,
        "prompt_cache_miss_tokens": first.prompt_tokens - first.cached_tokens,
    }


def token_logprobs(tokens: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """Log-probabilities of tokens, each with those of the likeliest in its place."""
    return [_token(one) | {"top_logprobs": [_token(top) for top in one.top]} for one in tokens]


def _token(one: TokenLogprob) -> dict[str, Any]:
    return {"token": one.text, "logprob": one.logprob, "bytes": list(one.text.encode())}


def head(kind: str, number: str, created: int, model: str) -> dict[str, Any]:
    """What all objects of an answer begin with."""
    named = {"id": number, "object": kind, "created": created, "model": model}
    return named | {"system_fingerprint": FINGERPRINT}


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())
