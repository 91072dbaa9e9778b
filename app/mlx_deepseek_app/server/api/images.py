"""POST /v1/images/generations: pictures of a text, by Janus and JanusFlow."""

import asyncio
import base64
import io
from collections.abc import Generator
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from mlx_deepseek_app.server import sse
from mlx_deepseek_app.server.api import state
from mlx_deepseek_app.server.api.openai_fields import now
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.request import Body

router = APIRouter()
Site = Annotated[Any, Depends(state.site)]


class ImagesRequest(Body):
    """What to draw; models have a size of their own."""

    model: str = ""
    prompt: str
    n: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    guidance: float | None = None
    temperature: float | None = None
    steps: int | None = None
    response_format: Literal["b64_json", "url"] | None = None


@router.post("/v1/images/generations")
@router.post("/images/generations")
async def generations(body: ImagesRequest, request: Request, site: Site) -> dict[str, Any]:
    """The pictures, as PNG in base64."""
    count = body.n or 1
    if count > site.settings.answers:
        raise ApiError(f"n is {count}. Expected at most {site.settings.answers}.", param="n")
    if body.response_format == "url":
        raise ApiError(
            "Pictures have no addresses here. Ask for response_format b64_json.",
            param="response_format",
        )
    named = site.models.named(body.model)
    with site.metrics.generation("images", named.id) as live:
        async with site.models.use(named.id) as engine:
            drawing = await asyncio.to_thread(
                engine.draw,
                body.prompt,
                count,
                seed=body.seed,
                guidance=body.guidance,
                temperature=body.temperature,
                steps=body.steps,
            )
            pictures = await sse.until_gone(request, _drawn(drawing))
        live.state = "stop"
    return {"created": now(), "data": [{"b64_json": encoded(one)} for one in pictures]}


async def _drawn(drawing: Generator[Any]) -> list[Any]:
    """The pictures of the last step; between two steps others may ask."""
    pictures: list[Any] = []
    try:
        while (progress := await asyncio.to_thread(next, drawing, None)) is not None:
            pictures = list(progress.pictures) or pictures
    finally:
        with suppress(asyncio.CancelledError):
            await asyncio.shield(asyncio.to_thread(drawing.close))
    return pictures


def encoded(picture: Any) -> str:
    """A picture as PNG in base64."""
    buffer = io.BytesIO()
    picture.save(buffer)
    return base64.b64encode(buffer.getvalue()).decode()
