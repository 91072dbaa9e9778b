"""Several answers to one request (`n`), as one stream."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from mlx_deepseek_app.server import sse
from mlx_deepseek_app.server.events import Event, Events, WholeAnswer

Numbered = tuple[int, Event]
NumberedEvents = AsyncGenerator[Numbered, None]


def seeds(options: Mapping[str, Any], count: int) -> list[Mapping[str, Any]]:
    """Options for each answer; from one seed, each gets a seed of its own."""
    seed = options.get("seed")
    if seed is None:
        return [options] * count
    return [{**options, "seed": (seed + number) % 2**64} for number in range(count)]


async def merged(streams: Sequence[Events]) -> NumberedEvents:
    """Events as they come, each with its stream's number; an error in one ends all."""
    if len(streams) == 1:
        async with aclosing(streams[0]):
            async for event in streams[0]:
                yield 0, event
        return
    queue: asyncio.Queue[Numbered | Exception | None] = asyncio.Queue(maxsize=len(streams))

    async def pump(number: int) -> None:
        try:
            async with aclosing(streams[number]) as events:
                async for event in events:
                    await queue.put((number, event))
            await queue.put(None)
        except Exception as error:
            await queue.put(error)

    tasks = [asyncio.ensure_future(pump(number)) for number in range(len(streams))]
    try:
        running = len(tasks)
        while running:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                running -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def collected(events: NumberedEvents, count: int) -> list[WholeAnswer]:
    """All answers, whole."""
    answers = [WholeAnswer() for _ in range(count)]
    async with aclosing(events):
        async for number, event in events:
            answers[number].add(event)
    return answers


async def whole(events: Events) -> WholeAnswer:
    """One answer, whole."""
    (answer,) = await collected(merged([events]), 1)
    return answer


async def written(
    writer: Any, events: NumberedEvents, count: int, body: Any, request: Request, site: Any
) -> Response:
    """`count` answers as OpenAI's `writer` gives them, whole or in pieces."""
    if body.stream:
        pieces = writer.stream(events, body.with_usage)
        return await sse.stream(request, pieces, site.settings.keepalive_s)
    return JSONResponse(writer.whole(await sse.until_gone(request, collected(events, count))))
