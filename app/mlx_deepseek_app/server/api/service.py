"""What is no API's own: models, tokens, health, metrics, the cache."""

import asyncio
import time
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from mlx_deepseek import __version__
from mlx_deepseek_app.server.api import state
from mlx_deepseek_app.server.api.openai_completions import decode
from mlx_deepseek_app.server.api.openai_messages import ChatMessage
from mlx_deepseek_app.server.request import Body

router = APIRouter()
STARTED = int(time.time())
Site = Annotated[Any, Depends(state.site)]


def described(name: str) -> dict[str, Any]:
    """A model as OpenAI's, DeepSeek's and Anthropic's clients read it."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(STARTED))
    openai = {"id": name, "object": "model", "created": STARTED, "owned_by": "deepseek"}
    return openai | {"type": "model", "display_name": name, "created_at": created}


@router.get("/v1/models")
@router.get("/models")
@router.get("/anthropic/v1/models")
def models(site: Site) -> dict[str, Any]:
    """The models that can be asked."""
    names = site.models.listed()
    pages = {"first_id": names[0], "last_id": names[-1], "has_more": False}
    return {"object": "list", "data": [described(name) for name in names], **pages}


@router.get("/v1/models/{name:path}")
@router.get("/models/{name:path}")
@router.get("/anthropic/v1/models/{name:path}")
def model(name: str, site: Site) -> dict[str, Any]:
    """One model, by its own name or another."""
    return described(site.models.named(name).id)


@router.get("/health")
def health() -> dict[str, str]:
    """That the server is up."""
    return {"status": "ok", "version": __version__}


@router.get("/metrics")
def metrics(site: Site) -> Response:
    """Counts and times for Prometheus."""
    return Response(site.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/cache")
@router.get("/cache")
def cache(site: Site) -> dict[str, Any]:
    """Of each request, running or recent, how many tokens of its prompt were not read again.

    `models` has, of each in memory, what its caches hold, and why prompts were not found in them.
    """
    counts = [*site.metrics.recent, *site.metrics.running.values()]
    prompt = sum(live.prompt_tokens for live in counts)
    cached = sum(live.cached_tokens for live in counts)
    return {
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "requests": [live.shown() for live in reversed(counts)],
        "models": {name: asdict(one.cache_report()) for name, one in site.models.engines().items()},
    }


class TokenizeRequest(Body):
    """A text, or messages as the model's prompt has them."""

    model: str = ""
    prompt: str | None = None
    content: str | None = None
    messages: list[ChatMessage] | None = None
    tools: list[dict[str, Any]] | None = None


@router.post("/v1/tokenize")
@router.post("/tokenize")
async def tokenize(body: TokenizeRequest, site: Site) -> dict[str, Any]:
    """Numbers of tokens; special tokens in a text are read as such."""
    async with site.models.use(site.models.named(body.model).id) as engine:
        if body.messages is not None:
            # Negative numbers are places of pictures.
            said = [one.as_engine(f"messages.{n}") for n, one in enumerate(body.messages)]
            encode = partial(engine.processor.encode, said, tools=body.tools)
            ids = (await asyncio.to_thread(encode)).ids
        else:
            text = body.prompt if body.prompt is not None else body.content or ""
            ids = engine.processor.tokenizer.encode(text)
        return {"tokens": ids, "count": len(ids), "max_model_len": engine.context_length}


class DetokenizeRequest(Body):
    """Numbers of tokens."""

    model: str = ""
    tokens: list[int]


@router.post("/v1/detokenize")
@router.post("/detokenize")
async def detokenize(body: DetokenizeRequest, site: Site) -> dict[str, Any]:
    """Their text."""
    async with site.models.use(site.models.named(body.model).id) as engine:
        return {"prompt": decode(engine, body.tokens)}
