"""A small real MCP server over stdio, which can also be asked to misbehave."""

import os
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("small")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def huge() -> str:
    """Says a lot."""
    return "x" * 1_000_000


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("out of paper")


@server.tool()
async def hang() -> str:
    """Never answers."""
    import anyio

    await anyio.sleep(60)
    return "late"


@server.tool()
def leave() -> str:
    """Ends the server."""
    os._exit(3)


if __name__ == "__main__":
    if "--http" in sys.argv:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[-1]))
    server.run("stdio")
