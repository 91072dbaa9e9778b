"""Answers on their way to a client: as a stream of server-sent events, or whole."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mlx_deepseek_app.server.errors import ApiError, of_anthropic, understood

T = TypeVar("T")
KEEPALIVE = ": keep-alive\n\n"
PING = 'event: ping\ndata: {"type":"ping"}\n\n'
HEADERS = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"}
Pieces = AsyncGenerator[str, None]
Data = Mapping[str, Any]


def data(value: Data) -> str:
    """An event without a name."""
    return f"data: {dumps(value)}\n\n"


def named(value: Data) -> str:
    """An event that is called as its value's type."""
    return f"event: {value['type']}\n{data(value)}"


def dumps(value: Any) -> str:
    """JSON in one line, without blanks, as the APIs write it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def stream(request: Request, pieces: Pieces, silence_s: float) -> Response:
    """Send `pieces` as they come; the iterator is closed when the client goes away.

    Before the first one, an error is a response of its own. After `silence_s` without any, the
    response begins, and a comment keeps the connection open.
    """
    path = request.url.path
    first = asyncio.ensure_future(anext(pieces, None))
    try:
        await asyncio.wait({first}, timeout=silence_s)
        if first.done():
            first.result()
    except BaseException:
        await _end(first, pieces)
        raise
    body = _kept_alive(first, pieces, silence_s, path)
    return StreamingResponse(body, media_type="text/event-stream", headers=HEADERS)


async def _kept_alive(
    pending: "asyncio.Future[str | None]", pieces: Pieces, silence_s: float, path: str
) -> Pieces:
    try:
        while True:
            done, _ = await asyncio.wait({pending}, timeout=silence_s)
            if not done:
                yield PING if of_anthropic(path) else KEEPALIVE
                continue
            piece = pending.result()
            if piece is None:
                return
            yield piece
            pending = asyncio.ensure_future(anext(pieces, None))
    except Exception as error:
        yield failure(understood(error), path)
    finally:
        await _end(pending, pieces)


async def _end(pending: "asyncio.Future[str | None]", pieces: Pieces) -> None:
    """Close the iterator even where the caller is cancelled once more."""

    async def close() -> None:
        pending.cancel()
        await asyncio.wait({pending})
        await pieces.aclose()

    await asyncio.shield(asyncio.ensure_future(close()))


def failure(error: ApiError, path: str) -> str:
    """An error in the middle of a stream."""
    body = error.body(of_anthropic(path))
    return named(body) if of_anthropic(path) else data(body)


async def until_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client goes away.

    Raises:
        ApiError: it went.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError("The client has gone.", 499)
        return working.result()
    finally:
        gone.cancel()
        if not working.done():
            working.cancel()
            with suppress(BaseException):
                await working


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
