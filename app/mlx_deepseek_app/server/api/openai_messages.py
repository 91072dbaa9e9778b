"""Conversations and tools in OpenAI's and DeepSeek's shape, as the engine takes them."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.request import Body, Message, function, given, picture


class ImageUrl(Body):
    """A picture's data URL."""

    url: str


class ContentPart(Body):
    """A part of a message: text or a picture."""

    type: str
    text: str | None = None
    image_url: ImageUrl | str | None = None
    refusal: str | None = None


class CalledFunction(Body):
    """What a call calls; `arguments` is JSON."""

    name: str
    arguments: str | dict[str, Any] = ""


class MessageToolCall(Body):
    """An assistant's call of a function."""

    id: str = ""
    type: str = "function"
    function: CalledFunction


class ChatMessage(Body):
    """A turn. `prefix` (DeepSeek): the assistant's last message is continued."""

    role: Literal["system", "developer", "user", "assistant", "tool", "latest_reminder"]
    content: str | list[ContentPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # as some clients call it
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: str | None = None
    name: str | None = None
    prefix: bool | None = None
    task: str | None = None

    def as_engine(self, where: str) -> Message:
        """The message as `Engine.stream` takes it."""
        message: Message = {"role": self.role, "content": contents(self.content, where)}
        thought = self.reasoning_content or self.reasoning
        calls = [call.model_dump() for call in self.tool_calls or ()]
        for call in calls:
            call["function"]["arguments"] = call["function"]["arguments"] or "{}"
        return message | given(
            reasoning_content=thought,
            tool_calls=calls or None,
            tool_call_id=self.tool_call_id,
            prefix=self.prefix,
            task=self.task,
        )


def contents(content: str | Sequence[ContentPart] | None, where: str) -> str | list[dict[str, Any]]:
    """A message's content, as a text where it has no pictures.

    Raises:
        ApiError: a part of another kind.
    """
    if content is None or isinstance(content, str):
        return content or ""
    parts = [_part(part, f"{where}.content.{n}") for n, part in enumerate(content)]
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)  # as DeepSeek's API joins them
    return parts


def _part(part: ContentPart, where: str) -> dict[str, Any]:
    match part.type:
        case "text" | "input_text" | "output_text" | "refusal":
            return {"type": "text", "text": part.text or part.refusal or ""}
        case "image_url" | "input_image":
            url = part.image_url
            return picture(url.url if isinstance(url, ImageUrl) else url, f"{where}.image_url")
    raise ApiError(
        f"{where} is of type {part.type[:60]!r}. Expected text or image_url.", param=where
    )


class Function(Body):
    """What may be called; `parameters` is a JSON schema, which arguments fit if it is `strict`."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_.:-]{1,128}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Body):
    """A function that is offered."""

    type: Literal["function"] = "function"
    function: Function

    def as_engine(self) -> dict[str, Any]:
        """The tool as `Engine.stream` takes it."""
        one = self.function
        return function(one.name, one.description, one.parameters, one.strict)


class NamedFunction(Body):
    """The one that must be called."""

    name: str


class FunctionChoice(Body):
    """A tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice = Literal["none", "auto", "required"] | FunctionChoice


def tool_options(
    tools: Sequence[FunctionTool] | None, choice: ToolChoice | None, parallel: bool | None
) -> Mapping[str, Any]:
    """The engine's options for tools.

    Raises:
        ApiError: the tool that must be called is not offered.
    """
    if not tools:
        if choice not in (None, "none", "auto"):
            raise ApiError("tool_choice asks for a call, but there are no tools.", param="tools")
        return {}
    names = [tool.function.name for tool in tools]
    wanted = choice.function.name if isinstance(choice, FunctionChoice) else None
    if wanted is not None and wanted not in names:
        raise ApiError(
            f"tool_choice names {wanted[:100]!r}, which is no tool of this request.",
            param="tool_choice",
        )
    listed = [tool.as_engine() for tool in tools]
    named = {"type": "function", "function": {"name": wanted}} if wanted else choice
    return given(tools=listed, tool_choice=named, parallel_tool_calls=parallel)
