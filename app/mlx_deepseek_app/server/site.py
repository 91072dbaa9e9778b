"""The server as an ASGI application: its state, its routes, and what surrounds them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from mlx_deepseek import __version__
from mlx_deepseek_app.server import errors
from mlx_deepseek_app.server.api import (
    anthropic,
    deepseek,
    images,
    openai_chat,
    openai_completions,
    openai_responses,
    service,
)
from mlx_deepseek_app.server.api.responses_store import ResponsesStore
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.events import Event, answer
from mlx_deepseek_app.server.gate import Gate
from mlx_deepseek_app.server.metrics import Metrics
from mlx_deepseek_app.server.models_loaded import Models
from mlx_deepseek_app.server.recall import Listener, Recall
from mlx_deepseek_app.server.request import Ask
from mlx_deepseek_app.server.security import LOOPBACK
from mlx_deepseek_app.server.settings import ServerSettings


class Site:
    """What all handlers share."""

    def __init__(self, models: Models, settings: ServerSettings) -> None:
        self.models = models
        self.settings = settings
        self.metrics = Metrics()
        self.recall = Recall()
        self.responses = ResponsesStore(settings.stored_responses)

    async def answer(self, api: str, ask: Ask) -> AsyncGenerator[Event, None]:
        """The events of an answer; closing the iterator stops the generation."""
        ask, listener = self.recall.completed(ask), Listener(self.recall)
        with self.metrics.generation(api, ask.model) as live:
            async with (
                self.models.use(ask.model) as engine,
                aclosing(answer(engine, ask)) as events,
            ):
                async for event in events:
                    live.saw(event)
                    listener.saw(event)
                    yield event


def build(
    models: Models,
    settings: ServerSettings | None = None,
    known: Collection[str] = LOOPBACK,
    background: Callable[[], Any] | None = None,
) -> FastAPI:
    """The application, reached by the names `known`; `background()` runs beside it."""
    settings = settings or ServerSettings()
    site = Site(models, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.ensure_future(background()) if background else None
        yield
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    middleware = [Middleware(Gate, settings=settings, known=known, metrics=site.metrics)]
    if settings.cors:
        named = {"allow_origins": settings.cors, "allow_methods": ["*"], "allow_headers": ["*"]}
        middleware.append(Middleware(CORSMiddleware, **named))
    app = FastAPI(
        title="mlx-deepseek",
        version=__version__,
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        middleware=middleware,
        exception_handlers={
            ApiError: _refused,
            RequestValidationError: _invalid,
            HTTPException: _http,
        },
    )
    app.state.site = site
    for module in (
        service,
        openai_chat,
        openai_completions,
        openai_responses,
        deepseek,
        anthropic,
        images,
    ):
        app.include_router(module.router)
    return app


async def _refused(request: Request, error: Any) -> Response:
    return errors.response(error, request.url.path)


async def _invalid(request: Request, error: Any) -> Response:
    return errors.response(errors.invalid(error.errors()), request.url.path)


async def _http(request: Request, error: Any) -> Response:
    words = {
        404: f"There is nothing at {request.url.path[:100]!r}. docs/server.md lists the addresses.",
        405: f"{request.method} is not possible here.",
    }
    message = words.get(error.status_code, f"{error.detail}.")
    return errors.response(ApiError(message, error.status_code), request.url.path)
