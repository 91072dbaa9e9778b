"""Lean as a server for one document: quick checks while searching, and goals at any place.

`lean --worker` elaborates from the first changed command on, so a header is imported once. It
speaks the language server protocol; it answers nothing before the document is open.
"""

import json
import os
import selectors
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.lean_messages import LeanMessage, read_diagnostics, to_utf16
from mlx_deepseek.proving.process import Limits, Process

LARGEST_MESSAGE = 64 << 20
NO_GOALS = "no goals"


class WorkerStoppedError(Exception):
    """The worker took too long, too much memory, or ended; it is not to be used again."""


class Connection(Protocol):
    """Where messages go to and come from."""

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one."""
        ...

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next one, before `deadline` on the monotonic clock."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class PipeConnection:
    """JSON messages with a header of their length, through a process's pipes."""

    def __init__(self, process: Process):
        self._process = process
        assert process.popen.stdin
        assert process.popen.stdout
        self._stdin, self._stdout = process.popen.stdin, process.popen.stdout
        self._buffer = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message.

        Raises:
            WorkerStoppedError: the process has ended.
        """
        data = json.dumps(message).encode()
        try:
            self._stdin.write(b"Content-Length: %d\r\n\r\n" % len(data) + data)
            self._stdin.flush()
        except (BrokenPipeError, ValueError) as error:
            raise WorkerStoppedError(self._why()) from error

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next message.

        Raises:
            WorkerStoppedError: none before the deadline, or the process has ended.
        """
        while b"\r\n\r\n" not in self._buffer:
            self._fill(deadline)
        head = bytes(self._buffer).partition(b"\r\n\r\n")[0]
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n") if b":" in line)
        try:
            size = int(fields[b"content-length"])
        except (KeyError, ValueError) as error:
            raise WorkerStoppedError("Lean's server said what is no message.") from error
        if size > LARGEST_MESSAGE:
            raise WorkerStoppedError("Lean said too much.")
        start = len(head) + 4
        while len(self._buffer) < start + size:
            self._fill(deadline)
        data = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise WorkerStoppedError("Lean's server said what is no message.") from error

    def close(self) -> None:
        """Kill the process and what it started."""
        self._selector.close()
        self._process.stop()

    def _fill(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not self._selector.select(left):
            raise WorkerStoppedError("Lean took too long.")
        data = os.read(self._stdout.fileno(), 1 << 16)
        if not data:
            raise WorkerStoppedError(self._why())
        self._buffer += data

    def _why(self) -> str:
        stopped = self._process.stop().stopped
        return {"memory": "Lean took too much memory.", "disk": "Lean wrote too much."}.get(
            stopped, "Lean ended."
        )


@dataclass
class LeanWorker:
    """One document on a server; `uses` counts what it has elaborated."""

    connection: Connection
    uri: str
    uses: int = 0

    def __post_init__(self) -> None:
        self._requests = 0
        self._text = ""
        self._diagnostics: list[Any] = []
        params = {"processId": None, "rootUri": None, "capabilities": {}}
        self.connection.send({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})

    def elaborate(self, text: str, seconds: float) -> list[LeanMessage]:
        """What Lean says of the text, which becomes the document.

        Raises:
            WorkerStoppedError: it took too long or too much memory.
        """
        deadline = time.monotonic() + seconds
        self.uses += 1
        self._text, self._diagnostics = text, []
        document = {"uri": self.uri, "version": self.uses}
        if self.uses == 1:
            opened = {**document, "languageId": "lean", "text": text}
            self._notify(
                "textDocument/didOpen", {"textDocument": opened, "dependencyBuildMode": "never"}
            )
        else:
            changes = [{"text": text}]
            self._notify(
                "textDocument/didChange", {"textDocument": document, "contentChanges": changes}
            )
        self._ask("textDocument/waitForDiagnostics", document, deadline)
        return read_diagnostics(self._diagnostics, text)

    def goals(self, line: int, column: int, seconds: float) -> str | None:
        """The goals at a place of the document (line from 1); None outside a proof.

        Raises:
            WorkerStoppedError: it took too long or too much memory.
        """
        lines = self._text.split("\n")
        position = {"line": line - 1, "character": to_utf16(lines[line - 1], column)}
        found = self._ask(
            "$/lean/plainGoal",
            {"textDocument": {"uri": self.uri}, "position": position},
            time.monotonic() + seconds,
        )
        if found is None:
            return None
        return "\n\n".join(found["goals"]) or NO_GOALS

    def close(self) -> None:
        """End the server."""
        self.connection.close()

    def _notify(self, method: str, params: Mapping[str, Any]) -> None:
        self.connection.send({"jsonrpc": "2.0", "method": method, "params": params})

    def _ask(self, method: str, params: Mapping[str, Any], deadline: float) -> Any:
        self._requests += 1
        wanted = self._requests
        self.connection.send({"jsonrpc": "2.0", "id": wanted, "method": method, "params": params})
        while True:
            message = self.connection.receive(deadline)
            if message.get("method") == "textDocument/publishDiagnostics":
                if message["params"].get("version", self.uses) == self.uses:
                    self._diagnostics = message["params"]["diagnostics"]
            elif message.get("id") == wanted and "method" not in message:  # it asks, too
                if "error" in message:
                    raise WorkerStoppedError(f"Lean's server: {message['error'].get('message')}")
                return message.get("result")


def start_worker(lean: Lean, limits: Limits) -> LeanWorker:
    """Start a server that may write nothing; its limits of time are each request's."""
    folder = Path(tempfile.gettempdir())
    name = folder / "Search.lean"
    process = lean.start_worker(name.as_uri(), cwd=lean.prefix, limits=limits)
    return LeanWorker(PipeConnection(process), name.as_uri())
