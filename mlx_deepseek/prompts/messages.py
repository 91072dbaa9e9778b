"""Conversations from outside: checked, and with control tokens in them made harmless."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mlx_deepseek.errors import PromptError

Message = Mapping[str, Any]
ROLES = ("system", "user", "assistant", "tool")

# What it separates is encoded apart: it is put inside control tokens that users typed, so that they
# become plain text, and where a format's originals are encoded in pieces.
GUARD = "\ue000"
# Stands for a picture in a checked message.
PICTURE = "\ue001"
# A part of a message that is a picture, and where the part has it.
PICTURE_PARTS = {"image": "image", "image_url": "image_url", "input_image": "image_url"}
# What of a message reaches the prompt.
SPOKEN = ("content", "reasoning_content", "tool_calls")
# </think> separates reasoning in histories that clients send back in one piece.
ASSISTANT_MAY = ("<think>", "</think>")


class Tokenizer(Protocol):
    """What encoding needs of a tokenizer (transformers' or mlx-lm's wrapper)."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]: ...
    def get_added_vocab(self) -> dict[str, int]: ...


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token numbers of a prompt that spells its own BOS; guards split tokens, and vanish."""
    ids: list[int] = []
    for piece in text.split(GUARD):
        ids += tokenizer.encode(piece, add_special_tokens=False)
    return ids


def control_tokens(tokenizer: Tokenizer) -> list[str]:
    """All that the tokenizer would not read as plain text, longest first."""
    return sorted(tokenizer.get_added_vocab(), key=len, reverse=True)


def guard(message: Message, controls: Sequence[str]) -> dict[str, Any]:
    """A copy of a message in which none of `controls` can be recognised."""
    spared = ASSISTANT_MAY if message.get("role") == "assistant" else ()
    told = {key: controls for key in SPOKEN}
    told["content"] = [control for control in controls if control not in spared]
    return {k: guarded(v, told[k]) if k in told else v for k, v in message.items()}


def guarded(value: Any, controls: Sequence[str]) -> Any:
    """A copy of a text, or of lists and dicts of texts, with a guard in every control token."""
    if isinstance(value, str):
        value = value.replace(GUARD, "")
        for control in controls:
            if len(control) > 1:
                value = value.replace(control, control[:1] + GUARD + control[1:])
        return value
    if isinstance(value, Mapping):
        return {guarded(k, controls): guarded(v, controls) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [guarded(item, controls) for item in value]
    return value


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


def check(
    messages: Sequence[Message], *, decoded: bool = False, gap: str | None = None
) -> list[Message]:
    """Messages with string contents; "developer" counts as system, parts are joined.

    `gap` is what separates pictures that open a message from its text, where PICTURE stands for
    each; None: pictures are refused. `decoded`: arguments of tool calls come as data instead of
    JSON. Escapes in JSON can spell control tokens, so what writes values decodes them here, before
    they are guarded.

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
        role = message.get("role")
        role = "system" if role == "developer" else role
        if role not in ROLES:
            raise PromptError(
                f"Message {number} has role {role!r}; expected one of {', '.join(ROLES)}."
            )
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
        checked.append({**message, "role": role, "content": _text(message, number, gap)})
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
            arguments = json.loads(arguments)
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
        content = message.get("content")
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


def _text(message: Message, number: int, gap: str | None) -> str:
    content = message.get("content")
    if content is None and not message.get("tool_calls"):
        raise PromptError(f"Message {number} has no content.")
    if content is None or isinstance(content, str):
        return (content or "").replace(PICTURE, "")
    if not isinstance(content, (list, tuple)):
        raise PromptError(
            f"Message {number} has content {content!r:.60}; expected a string or a list of parts."
        )
    parts = [_part(part, number, gap is not None) for part in content]
    text = "".join(parts)
    rest = text.lstrip(PICTURE)
    opens = text[: len(text) - len(rest)]
    return opens + (gap or "") + rest if opens and rest and not rest[0].isspace() else text


def _part(part: Any, number: int, sees: bool) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return part["text"].replace(PICTURE, "")
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
