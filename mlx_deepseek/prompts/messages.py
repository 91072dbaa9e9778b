"""Conversations from outside, checked: their messages, parts, pictures and tool calls."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.control_tokens import well_formed

Message = Mapping[str, Any]
ROLES = ("system", "user", "assistant", "tool")

# Stands for a picture in a checked message; as GUARD, no character.
PICTURE = "\ud801"
# A part of a message that is a picture, and where the part has it.
PICTURE_PARTS = {"image": "image", "image_url": "image_url", "input_image": "image_url"}


def extend_system(
    messages: Sequence[Message], texts: Sequence[str], *, blank: bool = False
) -> list[Message]:
    """Messages whose system prompt ends with `texts`, each after a blank line.

    `blank`: the first one too, where there is no system prompt.
    """
    first = messages[0] if messages and messages[0]["role"] == "system" else None
    content = first["content"] if first else ""
    parts = [content] if content or blank else []
    system = {"role": "system", "content": "\n\n".join([*parts, *texts])}
    return [system, *(messages[1:] if first else messages)]


def open_system(messages: Sequence[Message], text: str) -> list[Message]:
    """Messages whose system prompt, which there may not be yet, begins with `text`."""
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "content": text + messages[0]["content"]}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def check(
    messages: Sequence[Message],
    *,
    decoded: bool = False,
    gap: str | None = None,
    joint: str = "",
    place: str | None = None,
    roles: Sequence[str] = (),
) -> list[Message]:
    """Messages with string contents; "developer" counts as system, parts are joined.

    `roles` are known besides ROLES.

    `gap` is what separates pictures that open a message from its text, where PICTURE stands for
    each; None: pictures are refused. A text that writes `place` as often as the message has
    pictures says where they belong, as in the authors' examples. `joint` separates all parts of a
    message. `decoded`: arguments of tool calls come as data instead of JSON. Escapes in JSON can
    spell control tokens, so what writes values decodes them here, before they are guarded.

    Raises:
        PromptError: no messages, one of another shape, an unknown role, a picture, or a tool
            result without a call.
    """
    if isinstance(messages, str) or not messages:
        raise PromptError(
            'Expected a list of messages like {"role": "user", "content": "..."}; got '
            f"{'a string' if messages else 'none'}."
        )
    checked: list[Message] = []
    called = False
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping):
            raise PromptError(
                f"Message {number} is {message!r:.60}; expected a dict with role and content."
            )
        message = well_formed(message)
        role = message.get("role")
        role = "system" if role == "developer" and role not in roles else role
        if role not in (*ROLES, *roles):
            known = ", ".join((*ROLES, *roles))
            raise PromptError(f"Message {number} has role {role!r}; expected one of {known}.")
        if role == "tool" and not called:
            raise PromptError(
                f"Message {number} is a tool's result, but no assistant message before it has "
                "tool_calls. Send the call with its result."
            )
        if message.get("tool_calls"):
            check_calls(message["tool_calls"], f"Message {number}")
            called = True
            if decoded:
                calls = [_decoded(call, f"Message {number}") for call in message["tool_calls"]]
                message = {**message, "tool_calls": calls}
        content = _text(message, number, gap, joint, place)
        checked.append({**message, "role": role, "content": content})
    return checked


def check_calls(calls: Any, where: str) -> None:
    """OpenAI's shape of an assistant's tool calls.

    Raises:
        PromptError: another one.
    """
    for call in calls if isinstance(calls, (list, tuple)) else [calls]:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not (
            isinstance(function, Mapping)
            and isinstance(function.get("name"), str)
            and isinstance(function.get("arguments"), (str, Mapping))
        ):
            raise PromptError(
                f"{where} has a tool call that is {call!r:.60}; expected "
                '{"type": "function", "function": {"name": ..., "arguments": ...}}.'
            )


def _decoded(call: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    function = call["function"]
    arguments = function["arguments"]
    if isinstance(arguments, str):
        try:
            arguments = well_formed(json.loads(arguments))
        except (ValueError, RecursionError):  # the latter from thousands of nested brackets
            arguments = None
    if not isinstance(arguments, Mapping):
        raise PromptError(
            f"{where} calls {function['name']!r} with arguments {function['arguments']!r:.60}; "
            "expected a JSON object."
        )
    return {**call, "function": {**function, "arguments": arguments}}


def check_tools(tools: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The function descriptions in a list of tools, OpenAI's wrapping taken off.

    Raises:
        PromptError: one has no name.
    """
    functions = []
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise PromptError(
                f"A tool is {tool!r:.60}; expected "
                '{"type": "function", "function": {"name": ..., "parameters": {...}}}.'
            )
        functions.append(function)
    return functions


def pictures(messages: Sequence[Message]) -> list[Any]:
    """The pictures in checked or unchecked messages, in order: paths, URLs or what else came."""
    found = []
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        for part in content if isinstance(content, (list, tuple)) else ():
            if is_picture(part):
                found.append(_picture(part))
    return found


def is_picture(part: Any) -> bool:
    """Whether a part of a message is a picture."""
    return isinstance(part, Mapping) and part.get("type") in PICTURE_PARTS


def with_pictures(message: Message, shown: Sequence[Any]) -> dict[str, Any]:
    """A message that opens with picture parts."""
    content = message.get("content") or []
    rest = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    return {**message, "content": [*shown, *rest]}


def _picture(part: Mapping[str, Any]) -> Any:
    value = part.get(PICTURE_PARTS[part["type"]])
    return value.get("url") if isinstance(value, Mapping) else value


def _text(message: Message, number: int, gap: str | None, joint: str, place: str | None) -> str:
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise PromptError(f"Message {number} has no content.")
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, (list, tuple)):
        raise PromptError(
            f"Message {number} has content {content!r:.60}; expected a string or a list of parts."
        )
    parts = [_part(part, number, gap is not None) for part in content]
    text, words = joint.join(parts), joint.join(part for part in parts if part != PICTURE)
    if place and PICTURE in parts and words.count(place) == parts.count(PICTURE):
        return words.replace(place, PICTURE)
    rest = text.lstrip(PICTURE)
    opens = text[: len(text) - len(rest)]
    return opens + (gap or "") + rest if opens and rest and not rest[0].isspace() else text


def _part(part: Any, number: int, sees: bool) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"]
    if kind in PICTURE_PARTS and sees:
        if _picture(part) is None:
            raise PromptError(
                f"Message {number} has a picture part {part!r:.60}; expected "
                '{"type": "image", "image": path} or {"type": "image_url", "image_url": ...}.'
            )
        return PICTURE
    if sees:
        raise PromptError(
            f"Message {number} has a part of type {kind!r}; expected text, image or image_url."
        )
    raise PromptError(
        f"Message {number} has a part of type {kind!r}; this is a text model. "
        "Send text only, or load a vision model."
    )
