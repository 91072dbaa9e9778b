"""The tools that are offered, and which of them may run in a conversation without being asked."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.tools.builtin import BUILTIN
from mlx_deepseek_app.tools.mcp_servers import FILE, McpServers, read_configs
from mlx_deepseek_app.tools.tool import Tool, ToolError

DECLINED = "The user does not want this tool to be called. Go on without it, or ask."


class Toolbox:
    """Tools by name: those of the app, and of the MCP servers in `folder`/mcp.json.

    Without a folder, as where visitors share the app, there are no servers: they run programs.
    """

    def __init__(self, folder: Path | None = None, servers: McpServers | None = None) -> None:
        self._path = None if folder is None else folder / FILE
        self._servers = servers or McpServers()
        self._lock = threading.Lock()
        self._tools: dict[str, Tool] = {one.name: one for one in BUILTIN}
        self._allowed: set[tuple[str, str]] = set()
        self.wrong: list[str] = []

    @property
    def configured(self) -> str | None:
        """The text of the file of servers; None where there may be none."""
        if self._path is None:
            return None
        try:
            return self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def configure(self, text: str) -> None:
        """Write the file of servers, and start them.

        Raises:
            ToolError: it is no such file; then it stays as it was.
        """
        if self._path is None:
            raise ToolError("MCP servers run programs: they are for an app that nobody shares.")
        read_configs(text)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        self._path.write_text(text, encoding="utf-8")
        self.refresh()

    def refresh(self) -> None:
        """Ask the servers what they offer; what is wrong with them stands in `wrong`."""
        with self._lock:
            try:
                configs = read_configs(self.configured or "")
                found, self.wrong = self._servers.tools(configs)
            except (ToolError, OSError) as error:
                found, self.wrong = [], [str(error)]
            tools = {one.name: one for one in BUILTIN}
            for one in found:
                name = one.name if one.name not in tools else f"{one.source}_{one.name}"
                tools[name] = Tool({**one.function, "name": name}, one.call, one.source)
            self._tools = tools

    @property
    def names(self) -> frozenset[str]:
        """Of the tools that can be run here."""
        return frozenset(self._tools)

    def offered(self) -> list[dict[str, Any]]:
        """The tools as the engine takes them."""
        return [{"type": "function", "function": one.function} for one in self._tools.values()]

    def describe(self) -> list[tuple[str, str, str]]:
        """Name, source and description of each, for people."""
        return [
            (name, one.source, one.function.get("description", ""))
            for name, one in self._tools.items()
        ]

    def can_run(self, calls: Sequence[ToolCall]) -> bool:
        """Whether all of these calls are of tools that are here."""
        return bool(calls) and all(call.name in self._tools for call in calls)

    def may_run(self, conversation: str, calls: Sequence[ToolCall]) -> bool:
        """Whether they may run without being asked for."""
        return self.can_run(calls) and all(
            (conversation, call.name) in self._allowed for call in calls
        )

    def allow(self, conversation: str, calls: Sequence[ToolCall]) -> None:
        """Ask no more about these tools in this conversation, until the app ends."""
        self._allowed |= {(conversation, call.name) for call in calls}

    def run(self, calls: Sequence[ToolCall]) -> str:
        """What the tools give, as the next message has it: a text, or a JSON list of several."""
        return joined([self._run(call) for call in calls])

    def _run(self, call: ToolCall) -> str:
        try:
            arguments = json.loads(call.arguments or "{}")
            if not isinstance(arguments, dict):
                raise ToolError(
                    f"The arguments are {call.arguments!r:.60}. Expected a JSON object."
                )
            tool = self._tools.get(call.name)
            if tool is None:
                raise ToolError(f"There is no tool {call.name!r:.60} any more.")
            return tool.call(arguments)
        except ValueError as error:
            return f"Error: the arguments are no JSON ({error})."
        except ToolError as error:
            return f"Error: {error}"

    def close(self) -> None:
        """End the servers."""
        self._servers.close()


def declined(calls: Sequence[ToolCall]) -> str:
    """What the model is told when the user does not want a call."""
    return joined([DECLINED] * len(calls))


def joined(given: Sequence[str]) -> str:
    """Results as a message has them, as `conversation.tools_json.results` reads it."""
    return given[0] if len(given) == 1 else json.dumps(list(given), ensure_ascii=False)
