"""Items and tools of OpenAI's responses, as the engine takes them.

Tools that a client runs become functions: those of a namespace with its name before theirs, and
custom ones, which take a text, with that as their only argument. DeepSeek's API does the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlx_deepseek_app.server.api.openai_messages import ContentPart, contents
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.request import Body, Message, function

# Tools that OpenAI's servers run. Agents offer them to every server; here nobody runs them.
HOSTED = (
    "web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation",
    "computer_use_preview", "mcp", "local_shell", "tool_search",
)  # fmt: skip
CUSTOM_SCHEMA = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
CALLS = ("function_call", "custom_tool_call")
OUTPUTS = ("function_call_output", "custom_tool_call_output")


class Item(Body):
    """A part of a conversation."""

    type: str | None = None
    role: str | None = None
    content: str | list[ContentPart] | None = None
    summary: list[ContentPart] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[ContentPart] | None = None


@dataclass
class Tools:
    """What the model is offered, and how calls are named to the client."""

    functions: list[dict[str, Any]] = field(default_factory=list)
    custom: set[str] = field(default_factory=set)
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, tools: Sequence[Mapping[str, Any]], namespace: str = "") -> None:
        """Take tools of a request.

        Raises:
            ApiError: one without a name, or of a kind that is not known.
        """
        for number, tool in enumerate(tools):
            where, kind = f"tools.{number}", tool.get("type")
            if kind in HOSTED:
                continue
            name = tool.get("name")
            if not isinstance(name, str) or not name:
                raise ApiError(f"{where} has no name.", param=where)
            inner = tool.get("tools")
            if kind == "namespace" and isinstance(inner, list) and not namespace:
                self.add([one for one in inner if isinstance(one, Mapping)], name)
                continue
            if kind not in ("function", "custom"):
                raise ApiError(
                    f"{where} is of type {kind!r:.60}. Expected function, custom or namespace.",
                    param=where,
                )
            self._add(tool, name, namespace, kind == "custom")

    def _add(self, tool: Mapping[str, Any], name: str, namespace: str, custom: bool) -> None:
        whole = f"{namespace}__{name}" if namespace else name
        if namespace:
            self.namespaces[whole] = (namespace, name)
        description = str(tool.get("description") or "")
        parameters, strict = tool.get("parameters"), bool(tool.get("strict"))
        if custom:
            self.custom.add(whole)
            definition = (tool.get("format") or {}).get("definition")
            parameters, strict = CUSTOM_SCHEMA, False
            description += f"\n\nThe input fits this grammar:\n{definition}" if definition else ""
        if not isinstance(parameters, Mapping):
            parameters = None
        self.functions.append(function(whole, description, parameters, strict))

    def called(self, name: str) -> dict[str, Any]:
        """A function's name as the client knows it."""
        namespace, own = self.namespaces.get(name, ("", name))
        return {"name": own} | ({"namespace": namespace} if namespace else {})


def as_engine(items: str | Sequence[Item]) -> list[Message]:
    """Messages; what the assistant thinks, says and calls between two others is one of them.

    Raises:
        ApiError: an item of another kind.
    """
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    messages: list[Message] = []
    for number, item in enumerate(items):
        where = f"input.{number}"
        kind = item.type or "message"
        if kind in OUTPUTS:
            content = contents(item.output, where)
            call = {"tool_call_id": item.call_id or ""}
            messages.append({"role": "tool", "content": content, **call})
        elif kind == "reasoning":
            turn = _turn(messages, fresh=True)
            turn["reasoning_content"] = turn.get("reasoning_content", "") + _thought(item, where)
        elif kind in CALLS:
            turn = _turn(messages)
            turn["tool_calls"] = [*turn.get("tool_calls", ()), _call(item, where)]
        elif kind == "message" and item.role == "assistant":
            _say(_turn(messages), contents(item.content, where))
        elif kind == "message" and item.role in ("user", "system", "developer"):
            messages.append({"role": item.role, "content": contents(item.content, where)})
        else:
            raise ApiError(
                f"{where} is {kind[:60]!r} of role {str(item.role)[:60]!r}. Expected a message, "
                "reasoning, a call or its output.",
                param=where,
            )
    return messages


def _turn(messages: list[Message], fresh: bool = False) -> Message:
    """The assistant's message that is being made; `fresh`: one that has said nothing."""
    last = messages[-1] if messages else {}
    said = fresh and (last.get("content") or last.get("tool_calls"))
    if last.get("role") != "assistant" or said:
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]


def _say(turn: Message, content: Any) -> None:
    text = content if isinstance(content, str) else ""
    turn["content"] = "\n\n".join(part for part in (turn["content"], text) if part)


def _thought(item: Item, where: str) -> str:
    texts = item.content if item.content else item.summary or []
    if isinstance(texts, str):
        return texts
    return "\n\n".join(part.text or "" for part in texts)


def _call(item: Item, where: str) -> dict[str, Any]:
    if not item.name:
        raise ApiError(f"{where} has no name.", param=where)
    name = f"{item.namespace}__{item.name}" if item.namespace else item.name
    arguments: Any = item.arguments or "{}"
    if item.type == "custom_tool_call":
        arguments = {"input": item.input or ""}
    called = {"name": name, "arguments": arguments}
    return {"id": item.call_id or "", "type": "function", "function": called}
