"""Conversations and tools in Anthropic's shape, as the engine takes them."""

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.request import Body, Message, function, given, picture

# Claude Code's first words of a system prompt, another one in each request, are for billing.
BILLING = "x-anthropic-billing-header:"
# What other servers' tools have left in a conversation, and what only their owners can read.
SKIPPED = ("redacted_thinking", "server_tool_use", "web_search_tool_result")


class ContentSource(Body):
    """Where a picture or text is."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class ContentBlock(Body):
    """A part of a message."""

    type: str
    text: str | None = None
    thinking: str | None = None
    source: ContentSource | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: "str | list[ContentBlock] | None" = None


class Turn(Body):
    """What one side says."""

    role: Literal["user", "assistant", "system"]
    content: str | list[ContentBlock]


class AnthropicTool(Body):
    """A tool that is offered; `type` is "custom" or nothing where the client runs it."""

    type: str | None = None
    name: str = Field(pattern=r"^[a-zA-Z0-9_.:-]{1,128}$")
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


def tool_as_engine(tool: AnthropicTool, where: str) -> dict[str, Any]:
    """A tool as `Engine.stream` takes it.

    Raises:
        ApiError: one that Anthropic's own servers run.
    """
    if tool.type not in (None, "custom"):
        raise ApiError(
            f"{where} is {tool.type[:60]!r}, which Anthropic's servers run and this one does not. "
            "Leave it out, or offer a tool with an input_schema.",
            param=where,
        )
    return function(tool.name, tool.description, tool.input_schema, tool.strict)


def as_engine(system: str | Sequence[ContentBlock] | None, turns: Sequence[Turn]) -> list[Message]:
    """A conversation as `Engine.stream` takes it; a last turn of the assistant is continued."""
    messages: list[Message] = []
    if told := _system(system):
        messages.append({"role": "system", "content": told})
    for number, turn in enumerate(turns):
        where = f"messages.{number}"
        if isinstance(turn.content, str):
            messages.append({"role": turn.role, "content": turn.content})
        elif turn.role == "assistant":
            messages.append(_assistant(turn.content, where))
        elif turn.role == "system":
            messages.append({"role": "system", "content": _system(turn.content)})
        else:
            messages += _user(turn.content, where)
    if messages and messages[-1]["role"] == "assistant" and not messages[-1].get("tool_calls"):
        messages[-1]["prefix"] = True
    return messages


def _system(system: str | Sequence[ContentBlock] | None) -> str:
    if system is None or isinstance(system, str):
        return system or ""
    texts = [block.text for block in system if block.text]
    return "\n\n".join(text for text in texts if not text.startswith(BILLING))


def _user(blocks: Sequence[ContentBlock], where: str) -> list[Message]:
    """Results of calls, then what the user says."""
    messages: list[Message] = []
    said: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        place = f"{where}.content.{number}"
        if block.type == "tool_result":
            if said:
                messages.append({"role": "user", "content": _joined(said)})
                said = []
            content = block.content or ""
            parts = (
                [ContentBlock(type="text", text=content)] if isinstance(content, str) else content
            )
            shown = [_part(part, f"{place}.content.{n}") for n, part in enumerate(parts)]
            call = given(tool_call_id=block.tool_use_id)
            messages.append({"role": "tool", "content": _joined(shown), **call})
        elif block.type not in SKIPPED:
            said.append(_part(block, place))
    if said or not messages:
        messages.append({"role": "user", "content": _joined(said)})
    return messages


def _assistant(blocks: Sequence[ContentBlock], where: str) -> Message:
    texts, thought, calls = [], "", []
    for number, block in enumerate(blocks):
        match block.type:
            case "text":
                texts.append(block.text or "")
            case "thinking":
                thought += block.thinking or ""
            case "tool_use":
                calls.append(_call(block, f"{where}.content.{number}"))
            case kind if kind not in SKIPPED:
                raise _unknown(block, f"{where}.content.{number}", "text, thinking or tool_use")
    message: Message = {"role": "assistant", "content": "\n\n".join(texts)}
    return message | given(reasoning_content=thought or None, tool_calls=calls or None)


def _call(block: ContentBlock, where: str) -> dict[str, Any]:
    if not block.name or not isinstance(block.input, dict | None):
        raise ApiError(f"{where} has no name, or an input that is no object.", param=where)
    arguments = json.dumps(block.input or {}, ensure_ascii=False)
    called = {"name": block.name, "arguments": arguments}
    return {"id": block.id or "", "type": "function", "function": called}


def _part(block: ContentBlock, where: str) -> dict[str, Any]:
    source = block.source
    match block.type:
        case "text":
            return {"type": "text", "text": block.text or ""}
        case "image" if source is not None and source.type == "base64":
            return picture(f"data:{source.media_type or 'image/png'};base64,{source.data}", where)
        case "image":
            return picture(source and source.url, where)
        case "document" if source is not None and source.type == "text":
            return {"type": "text", "text": source.data or ""}
    raise _unknown(block, where, "text or image")


def _unknown(block: ContentBlock, where: str, expected: str) -> ApiError:
    return ApiError(f"{where} is of type {block.type[:60]!r}. Expected {expected}.", param=where)


def _joined(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return parts
