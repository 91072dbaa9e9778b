"""What every API's request becomes, and the limits that all of them share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.settings import ServerSettings

Message = dict[str, Any]
# Levels of effort of all APIs, from short to long, and what DeepSeek's API takes some of them for.
LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")
MEANT = {"minimal": "low", "medium": "high", "xhigh": "high"}


class Body(BaseModel):
    """A request's body. Fields that are not known here are left out, as agents send many."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


@dataclass(frozen=True)
class Ask:
    """One generation: a conversation, or a text to go on from, and the engine's options.

    `prompt` is messages, or a text or tokens that are continued, up to `suffix` if there is one.
    `effort` is one of LEVELS, which a model's own levels are nearest to.
    """

    model: str
    prompt: Sequence[Message] | str | Sequence[int]
    options: Mapping[str, Any] = field(default_factory=dict)
    suffix: str = ""
    effort: str | None = None

    @property
    def is_chat(self) -> bool:
        """Whether a conversation is to be answered."""
        return not isinstance(self.prompt, str) and bool(
            self.prompt and isinstance(self.prompt[0], Mapping)
        )


def given(**options: Any) -> dict[str, Any]:
    """The options that were said."""
    return {name: value for name, value in options.items() if value is not None}


def nearest_effort(level: str | None, known: Sequence[str]) -> str | None:
    """The model's level that means `level`: itself, else the next longer one, else the longest."""
    if level is None or not known:
        return None
    level = level if level in known else MEANT.get(level, level)
    if level in known or level not in LEVELS:
        return level
    ordered = [one for one in LEVELS if one in known]
    return next((one for one in ordered if LEVELS.index(one) >= LEVELS.index(level)), ordered[-1])


def function(
    name: str,
    description: str | None,
    parameters: Mapping[str, Any] | None,
    strict: bool | None = None,
) -> dict[str, Any]:
    """A tool as `Engine.stream` takes it, in the order in which models have seen such."""
    told = given(name=name, description=description or "", parameters=parameters, strict=strict)
    return {"type": "function", "function": told}


def picture(url: Any, where: str) -> dict[str, Any]:
    """A picture as a part of a message.

    Raises:
        ApiError: it is not in the request itself. Addresses are not fetched and files are not read:
            whoever may ask would see what this machine sees.
    """
    if not isinstance(url, str) or not url.startswith("data:"):
        raise ApiError(
            f"{where} is no data URL. Expected data:image/png;base64,...; this server fetches no "
            "addresses and reads no files. Put the picture itself into the request.",
            param=where,
        )
    return {"type": "image_url", "image_url": {"url": url}}


def check_counts(messages: Sequence[Message], settings: ServerSettings) -> None:
    """Raises ApiError for more messages or pictures than a request may have."""
    if not messages:
        raise ApiError("messages is empty. Expected one message at least.", param="messages")
    if len(messages) > settings.messages:
        raise ApiError(
            f"There are {len(messages)} messages. Expected at most {settings.messages}.",
            param="messages",
        )
    images = sum(
        part.get("type") == "image_url"
        for message in messages
        if isinstance(message.get("content"), list)
        for part in message["content"]
    )
    if images > settings.images:
        raise ApiError(
            f"There are {images} pictures. Expected at most {settings.images} in a request.",
            param="messages",
        )
