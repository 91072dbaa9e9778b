"""Servers that run as processes of their own: ours, and mlx_lm.server."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Served:
    """A server, a client of it, and the model's name there."""

    client: httpx.Client
    model: str
    process: int

    def processor_s(self) -> float:
        """Seconds that processors have worked for it; 0 where the system does not tell."""
        try:
            fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def served(who: str, folder: Path, options: Sequence[str] = ()) -> Iterator[Served]:
    """`mlx-deepseek serve` with options for "ours", mlx_lm.server for "mlx-lm", once it answers."""
    port = free_port()
    place = ["--host", "127.0.0.1", "--port", str(port)]
    if who == "ours":
        run = ["mlx_deepseek.cli", "serve", str(folder), "--speculate", "0", *options]
    else:
        run = ["mlx_lm", "server", "--model", str(folder)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with (
        subprocess.Popen([sys.executable, "-m", *run, *place], **quiet) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=3600) as client,
    ):
        try:
            while True:
                try:
                    known = client.get("/v1/models")
                    break
                except httpx.TransportError:
                    if server.poll() is not None:
                        sys.exit(f"{' '.join(run)} ended with {server.returncode}")
                    time.sleep(0.2)
            name = known.json()["data"][0]["id"] if who == "ours" else str(folder)
            yield Served(client, name, server.pid)
        finally:
            server.terminate()
            server.wait()
