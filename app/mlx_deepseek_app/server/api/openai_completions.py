"""POST /v1/completions: a text is gone on with, or filled in between two texts."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from starlette.responses import Response

from mlx_deepseek.generation.results import TokenLogprob, Usage
from mlx_deepseek_app.server import sse
from mlx_deepseek_app.server.api import state
from mlx_deepseek_app.server.api.choices import NumberedEvents, merged, seeds, written
from mlx_deepseek_app.server.api.openai_chat_writer import DONE
from mlx_deepseek_app.server.api.openai_fields import SamplingBody, head, now, usage
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.events import End, Text, WholeAnswer
from mlx_deepseek_app.server.request import Ask, given

router = APIRouter()
Site = Annotated[Any, Depends(state.site)]
KIND = "text_completion"
DEFAULT_TOKENS = 16  # as OpenAI's


class CompletionRequest(SamplingBody):
    """Texts, or tokens, to go on from; `suffix` is what comes after the gap."""

    prompt: str | list[str] | list[int] | list[list[int]]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)

    def asks(self, site: Any) -> list[Ask]:
        """One for each prompt and answer.

        Raises:
            ApiError: more than is permitted, or what cannot be done together.
        """
        named = site.models.named(self.model)
        prompts = self._prompts()
        count = (self.n or 1) * len(prompts)
        if not 1 <= count <= site.settings.answers:
            raise ApiError(
                f"There are {count} answers to give. Expected 1 to {site.settings.answers}.",
                param="prompt",
            )
        if self.echo and self.suffix:
            raise ApiError("echo and suffix do not go together. Leave one out.", param="echo")
        if not self.max_tokens and self.max_tokens is not None:
            raise ApiError("max_tokens is 0. Expected 1 at least.", param="max_tokens")
        options = self.sampling(site.settings) | given(logprobs=self.logprobs)
        options.setdefault("max_tokens", DEFAULT_TOKENS)
        return [
            Ask(named.id, prompt, one, self.suffix or "")
            for prompt in prompts
            for one in seeds(options, self.n or 1)
        ]

    def _prompts(self) -> list[Any]:
        prompt = self.prompt
        if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
            return [prompt]
        return list(prompt)


@router.post("/v1/completions", response_model=None)
@router.post("/completions", response_model=None)
@router.post("/beta/completions", response_model=None)
async def completions(body: CompletionRequest, request: Request, site: Site) -> Response:
    """The continuations, whole or in pieces."""
    asks = body.asks(site)
    texts = await _texts(asks, site)
    asks = [replace(ask, prompt=text) for ask, text in zip(asks, texts, strict=True)]
    echoed = texts if body.echo else [""] * len(asks)
    writer = CompletionWriter(body.model or asks[0].model, echoed, body.logprobs is not None)
    events = merged([site.answer("completions", ask) for ask in asks])
    return await written(writer, events, len(asks), body, request, site)


async def _texts(asks: Sequence[Ask], site: Any) -> list[str]:
    """Prompts as text; tokens are decoded."""
    if all(isinstance(ask.prompt, str) for ask in asks):
        return [str(ask.prompt) for ask in asks]
    async with site.models.use(asks[0].model) as engine:
        return [
            ask.prompt if isinstance(ask.prompt, str) else decode(engine, ask.prompt)
            for ask in asks
        ]


def decode(engine: Any, tokens: Sequence[Any]) -> str:
    """The text of tokens; ApiError where the model has no such."""
    tokenizer = engine.processor.tokenizer
    if any(not 0 <= token < tokenizer.size for token in tokens):
        raise ApiError(
            f"There are tokens that {engine.name} does not know. Expected 0 to "
            f"{tokenizer.size - 1}.",
            param="prompt",
        )
    return tokenizer.decode(list(tokens))


@dataclass
class CompletionWriter:
    """Writes answers as text completions, each after what of `echoed` is its."""

    model: str
    echoed: Sequence[str]
    with_logprobs: bool
    id: str = field(default_factory=lambda: f"cmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=now)

    async def stream(self, events: NumberedEvents, counts: bool) -> sse.Pieces:
        """Chunks as server-sent events; with `counts`, the last one has the usage."""
        usages: list[Usage] = []
        offsets = [len(text) for text in self.echoed]
        for index, text in enumerate(self.echoed):
            if text:
                yield self._chunk([_choice(index, text)], counts)
        async with aclosing(events):
            async for index, event in events:
                match event:
                    case Text(text, logprobs):
                        found = self._logprobs(logprobs, offsets[index])
                        offsets[index] += len(text)
                        yield self._chunk([_choice(index, text, found)], counts)
                    case End(reason, counted):
                        usages.append(counted)
                        yield self._chunk([_choice(index, "", reason=reason)], counts)
        if counts:
            yield self._chunk([], counts, usage(usages))
        yield DONE

    def whole(self, answers: Sequence[WholeAnswer]) -> dict[str, Any]:
        """A completion."""
        choices = [
            _choice(
                index,
                echoed + answer.text,
                self._logprobs(answer.logprobs, len(echoed)),
                answer.reason,
            )
            for index, (echoed, answer) in enumerate(zip(self.echoed, answers, strict=True))
        ]
        counts = usage([answer.usage for answer in answers])
        return head(KIND, self.id, self.created, self.model) | {"choices": choices, "usage": counts}

    def _chunk(self, choices: Any, counts: bool, counted: Any = None) -> str:
        value = head(KIND, self.id, self.created, self.model) | {"choices": choices}
        return sse.data(value | ({"usage": counted} if counts else {}))

    def _logprobs(self, tokens: Sequence[TokenLogprob], offset: int) -> dict[str, Any] | None:
        if not self.with_logprobs:
            return None
        texts = [token.text for token in tokens]
        return {
            "tokens": texts,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{top.text: top.logprob for top in token.top} for token in tokens],
            "text_offset": list(_offsets(texts, offset)),
        }


def _choice(
    index: int, text: str, logprobs: Any = None, reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def _offsets(texts: Sequence[str], start: int) -> Iterator[int]:
    """Where each token begins."""
    for text in texts:
        yield start
        start += len(text)
