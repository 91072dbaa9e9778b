"""A model that is a script behind DeepSeek-V4's real prompt format: for agents, whose prompts are
longer than nano's window. It calls the shell once, then repeats what the shell has said.

Rendering, parsing and the server are the real ones; only what the model writes is given.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from mlx_deepseek import prompts
from mlx_deepseek.generation.results import Chunk, Usage

SHELLS = ("bash", "shell", "exec_command", "shell_command", "run_shell_command")
RESULT = re.compile(r"<tool_result>(.*?)</tool_result>", re.DOTALL)
PIECE = 7  # characters at a time


class ScriptedModel:
    """What a server asks of an engine; the shell runs `command`, or one of `tools` is called."""

    name = "scripted"
    context_length = 163_840
    draws = False

    def __init__(self, command: str, tools: Sequence[str] = SHELLS, says: str = "Hello.") -> None:
        self.prompt_format = prompts.get("v4_dated_chat")
        self.command, self.tools, self.says = command, tools, says
        self.called: list[str] = []
        self.prompts: list[str] = []
        self.processor = SimpleNamespace(encode=self.encode)

    def encode(self, prompt: Any, **options: Any) -> Any:
        """Characters in place of tokens."""
        return SimpleNamespace(ids=self.render(prompt, **options))

    def render(self, prompt: Any, tools: Any = None, thinking: Any = None, **_: Any) -> str:
        return self.prompt_format.render(described(prompt), tools=tools, thinking=thinking)

    async def astream(self, prompt: Any, **options: Any) -> AsyncIterator[Chunk]:
        """The next line of the script, through the real parser."""
        text = self.render(prompt, **options)
        self.prompts.append(text)
        written = self._next(text, options.get("tools") or ())
        thinking = options.get("thinking")
        parser = self.prompt_format.parser(thinking, in_pieces=True)
        written = ("I look.</think>" if thinking else "") + written
        called = False
        for at in range(0, len(written), PIECE):
            delta = parser.feed(written[at : at + PIECE])
            called = called or bool(delta.call_pieces)
            yield self._chunk(delta, text, at)
        delta = parser.finish()
        called = called or bool(delta.call_pieces)
        reason = "tool_calls" if called else "stop"
        yield self._chunk(delta, text, len(written), reason)

    def _next(self, text: str, tools: Any) -> str:
        results = RESULT.findall(text.rpartition("<｜User｜>")[2])
        if results:
            return f"The shell said: {results[-1].strip()}"
        for tool in tools:
            function = tool["function"]
            if function["name"].lower() in self.tools:
                self.called.append(function["name"])
                arguments = filled(function.get("parameters") or {}, self.command)
                called = {"name": function["name"], "arguments": arguments}
                markup = self.prompt_format.tools
                assert markup is not None
                return "I ask." + markup.calls([{"type": "function", "function": called}])
        return self.says

    def _chunk(self, delta: Any, text: str, written: int, reason: Any = None) -> Chunk:
        usage = Usage(prompt_tokens=len(text) // 4, completion_tokens=written // 4)
        said = (delta.text, delta.reasoning, (), usage, reason)
        return Chunk(*said, call_pieces=delta.call_pieces)


def filled(schema: Mapping[str, Any], command: str) -> dict[str, Any]:
    """Arguments that a shell's schema needs."""
    listed = schema.get("properties", {})
    found: dict[str, Any] = {}
    for name in {*schema.get("required", ()), *({"command", "cmd"} & set(listed))}:
        kind = listed.get(name, {}).get("type")
        if name in ("command", "cmd"):
            found[name] = ["bash", "-lc", command] if kind == "array" else command
        else:
            found[name] = {"number": 1000, "integer": 1000, "boolean": False}.get(kind, "look")
    return found


def described(messages: Any) -> list[dict[str, Any]]:
    """The messages with a word in the place of each picture, which a script cannot see."""
    shown = [dict(message) for message in messages]
    for message in shown:
        if isinstance(parts := message.get("content"), list):
            message["content"] = "".join(part.get("text", "[picture]") for part in parts)
    return shown
