"""A reply that is a picture: what a chat's `/draw ...` asks of a model that draws."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mlx_deepseek.image_generation import Picture
from mlx_deepseek_app.conversation.messages import AttachedPicture

COMMAND = "/draw"
PREVIEWS = 8  # while a picture is drawn


@dataclass(frozen=True)
class PictureChunk:
    """A chunk of a reply, as the engine's own are, with the picture as it is so far."""

    pictures: tuple[AttachedPicture, ...] = ()
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple = ()
    usage: Any = None
    finish_reason: str | None = None


def to_draw(text: str) -> str:
    """What a message asks to draw; "" if it asks for something else."""
    command, _, wanted = text.strip().partition(" ")
    return wanted.strip() if command == COMMAND else ""


def drawn_reply(engine: Any, wanted: str, seed: int | None) -> Iterator[PictureChunk]:
    """The picture in the making, and at last as it is, with what made it."""
    has = engine.draw_defaults.chosen
    steps = has.get("steps", getattr(engine.model, "drawing_tokens", PREVIEWS))
    drawing = engine.draw(
        wanted, 1, seed=seed, best_of=None, preview_every=max(1, steps // PREVIEWS)
    )
    for progress in drawing:
        for image in progress.previews:
            yield PictureChunk((attached(wanted, image),))
        for picture in progress.pictures:
            yield PictureChunk((attached(wanted, picture),), finish_reason="stop")


def attached(wanted: str, picture: Picture | Image.Image) -> AttachedPicture:
    """A picture as a message keeps it, named by what it shows."""
    file = io.BytesIO()
    if isinstance(picture, Picture):
        picture.save(file)
    else:
        picture.save(file, "PNG")
    return AttachedPicture(
        wanted[:80], f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    )
