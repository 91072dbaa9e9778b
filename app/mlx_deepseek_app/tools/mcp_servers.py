"""MCP servers (modelcontextprotocol.io): started, asked for their tools, and called.

All run in one event loop on a thread of its own; each server has a task that holds its connection.
The `mcp` package is an extra (`pip install 'mlx-deepseek[mcp]'`): it brings a dozen others, 26 MB
with cryptography among them, and who only chats needs none.
"""

import json
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mlx_deepseek_app.tools.tool import Tool, ToolError

FILE = "mcp.json"
START_TIMEOUT_S, CALL_TIMEOUT_S = 30.0, 60.0
CHARACTERS_AT_MOST = 20_000  # of a result
TOLD_CHARACTERS = 300  # of what a server has written before it ended


class ServerConfig(BaseModel):
    """A server as other apps' `mcpServers` has it: a program to start, or an address."""

    model_config = ConfigDict(extra="ignore")
    command: str = ""
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = {}
    disabled: bool = False


_CONFIGS = TypeAdapter(dict[str, ServerConfig])


def read_configs(text: str) -> dict[str, ServerConfig]:
    """The servers of a file, by name.

    Raises:
        ToolError: it is no such file, saying where.
    """
    if not text.strip():
        return {}
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ToolError(f"{FILE} is no JSON: {error}.") from error
    servers = data.get("mcpServers", data) if isinstance(data, dict) else data
    try:
        configs = _CONFIGS.validate_python(servers)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "mcpServers"
        raise ToolError(f"{FILE}: {where}: {first['msg']}.") from error
    for name, config in configs.items():
        if bool(config.command) == bool(config.url):
            raise ToolError(f"{FILE}: {name}: expected either a command or a url.")
    return {name: config for name, config in configs.items() if not config.disabled}


@dataclass
class _Server:
    name: str
    config: ServerConfig
    ready: Future[list[Any]] = field(default_factory=Future)  # its tools, as it describes them
    client: Any = None
    scope: Any = None  # of the task that holds the connection
    ended: bool = False


class McpServers:
    """Connections to servers; any thread may use it.

    `timeout_s` is for a call; START_TIMEOUT_S for a server to come up.
    """

    def __init__(self, timeout_s: float = CALL_TIMEOUT_S, start_s: float = START_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._start_s = start_s
        self._servers: dict[str, _Server] = {}
        self._portal: Any = None
        self._leave: Any = None

    def tools(self, configs: Mapping[str, ServerConfig]) -> tuple[list[Tool], list[str]]:
        """The tools of these servers, started where they do not run; and what is wrong."""
        for name in [
            name for name, one in self._servers.items() if configs.get(name) != one.config
        ]:
            self._end(self._servers.pop(name))
        for name, config in configs.items():
            if name not in self._servers or self._servers[name].ended:
                self._servers[name] = self._start(name, config)
        found: list[Tool] = []
        wrong: list[str] = []
        for name in configs:
            try:
                found += [self._tool(name, one) for one in self._known(name)]
            except ToolError as error:
                wrong.append(str(error))
        return found, wrong

    def close(self) -> None:
        """End all servers, and the loop."""
        for server in self._servers.values():
            self._end(server)
        self._servers.clear()
        if self._leave is not None:
            self._leave(None, None, None)
            self._portal = self._leave = None

    # -- from any thread -----------------------------------------------------------------------

    def _start(self, name: str, config: ServerConfig) -> _Server:
        server = _Server(name, config)
        try:
            import mcp  # noqa: F401
            from anyio.from_thread import start_blocking_portal
        except ImportError:
            server.ready.set_exception(
                ToolError("MCP servers need an extra: pip install 'mlx-deepseek[mcp]'.")
            )
            return server
        if self._portal is None:
            context = start_blocking_portal()
            self._portal, self._leave = context.__enter__(), context.__exit__
        self._portal.start_task_soon(self._hold, server)
        return server

    def _known(self, name: str) -> list[Any]:
        server = self._servers[name]
        try:
            return server.ready.result(self._start_s)
        except TimeoutError as error:
            self._end(self._servers.pop(name))
            raise ToolError(
                f"MCP server {name}: it has not come up within {self._start_s:g} s."
            ) from error

    def _tool(self, name: str, described: Any) -> Tool:
        function = {
            "name": described.name,
            "description": described.description or "",
            "parameters": described.input_schema,
        }
        return Tool(function, partial(self._call, name, described.name), source=name)

    def _call(self, name: str, tool: str, arguments: dict[str, Any]) -> str:
        server = self._servers.get(name)
        if server is None or server.ended:
            raise ToolError(f"MCP server {name} has ended. The next message starts it again.")
        try:
            result = self._portal.call(self._asked, server, tool, arguments)
        except ToolError:
            raise
        except Exception as error:
            ended = " The server has ended." if server.ended else ""
            raise ToolError(
                f"MCP server {name}: {tool} failed: {_reason(error)}.{ended}"
            ) from error
        text = _text(result.content)
        if result.is_error:
            raise ToolError(f"{tool}: {text or 'the server says that it failed'}")
        return text

    def _end(self, server: _Server) -> None:
        server.ended = True
        if server.scope is not None and self._portal is not None:
            self._portal.call(server.scope.cancel)

    # -- in the loop -----------------------------------------------------------------------------

    async def _hold(self, server: _Server) -> None:
        """Keep a server connected until it is to stop, or ends."""
        import anyio
        from mcp import Client

        log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, closed by the other
        with log, anyio.CancelScope() as server.scope:
            try:
                async with Client(_transport(server.config, log)) as client:
                    server.client = client
                    with anyio.fail_after(self._start_s):
                        listed = await client.list_tools()
                    server.ready.set_result(listed.tools)
                    await anyio.sleep_forever()
            except BaseException as error:
                if not server.ready.done():
                    log.seek(0)
                    told = log.read()[-TOLD_CHARACTERS:].strip()
                    said = f" It wrote: {told}" if told else ""
                    why = f"MCP server {server.name}: {_reason(error)}.{said}"
                    server.ready.set_exception(ToolError(why))
                if not isinstance(error, Exception):
                    raise
            finally:
                server.ended = True

    async def _asked(self, server: _Server, tool: str, arguments: dict[str, Any]) -> Any:
        import anyio

        try:
            with anyio.fail_after(self._timeout_s):
                return await server.client.call_tool(tool, arguments)
        except TimeoutError as error:
            raise ToolError(
                f"MCP server {server.name}: {tool} has not answered within {self._timeout_s:g} s."
            ) from error
        except Exception as error:
            if _is_closed(error):
                server.ended = True
                server.scope.cancel()
            raise


def _is_closed(error: Exception) -> bool:
    """Whether nobody is there any more."""
    import anyio
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED

    closed = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)
    return isinstance(error, closed) or (
        isinstance(error, MCPError) and error.code == CONNECTION_CLOSED
    )


def _transport(config: ServerConfig, log: Any) -> Any:
    from mcp import StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    if config.url:
        return streamable_http_client(
            config.url, http_client=create_mcp_http_client(headers=config.headers)
        )
    cwd = None if config.cwd is None else Path(config.cwd).expanduser()
    program = StdioServerParameters(
        command=config.command, args=config.args, env=config.env, cwd=cwd
    )
    return stdio_client(program, errlog=log)


def _text(content: list[Any]) -> str:
    """A result's parts as text; what is none is named."""
    parts = []
    for one in content:
        inside = getattr(one, "resource", one)
        text = getattr(inside, "text", None)
        parts.append(text if isinstance(text, str) else f"[{getattr(one, 'type', 'part')}]")
    text = "\n".join(parts)
    if len(text) <= CHARACTERS_AT_MOST:
        return text
    return (
        f"{text[:CHARACTERS_AT_MOST]}\n[cut: these are the first {CHARACTERS_AT_MOST:,} of "
        f"{len(text):,} characters]"
    )


def _reason(error: BaseException) -> str:
    """What went wrong, of a group the first; without an end."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = str(error).strip().rstrip(".")
    return f"{type(error).__name__}: {text}"[:TOLD_CHARACTERS] if text else type(error).__name__
