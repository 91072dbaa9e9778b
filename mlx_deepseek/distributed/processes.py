"""The other ranks as processes: started here or by ssh, watched through their pipes.

Beside MLX's connections, each process says through its output that it lives, and hears through its
input that rank 0 does; when the input ends, so does the process.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from mlx_deepseek.distributed.hosts_file import Host, Hosts
from mlx_deepseek.errors import HostsError

MODULE = "mlx_deepseek.distributed.process"
BEAT_S = 1.0
WAKE = "wake"
START_S = 60.0  # until a process that was started is ready
LINES = 8  # of its last words
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5")


class RankProcess:
    """One other rank."""

    def __init__(self, host: Host, rank: int):
        self.host, self.rank = host, rank
        self.heard_s = time.monotonic()
        self.ready = threading.Event()
        self._errors: deque[str] = deque(maxlen=LINES)
        self._telling = threading.Lock()
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        try:
            self.process = subprocess.Popen(
                command(host), stderr=subprocess.PIPE, start_new_session=True, **pipes
            )
        except OSError as error:
            raise HostsError(f"{self.name}: cannot be started ({error}).") from error
        self._readers = [
            threading.Thread(target=read, daemon=True) for read in (self._listen, self._collect)
        ]
        for reader in self._readers:
            reader.start()

    @property
    def name(self) -> str:
        """The machine and the rank, for messages."""
        return f"{self.host.ssh} (rank {self.rank})"

    def tell(self, line: str) -> None:
        """Write a line to it, on any thread; one that has ended does not hear."""
        with self._telling, contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(line + "\n")  # type: ignore[union-attr]
            self.process.stdin.flush()  # type: ignore[union-attr]

    def wake(self, rests: int) -> None:
        """End its rest of that number."""
        self.tell(f"{WAKE} {rests}")

    def trouble(self, silent_s: float) -> str | None:
        """What is wrong with it, if it has ended or not been heard for so long."""
        status = self.process.poll()
        if status is not None:
            self._readers[1].join(BEAT_S)
            words = " ".join(self._errors)
            return f"{self.name} ended with status {status}" + (f": {words}" if words else "")
        if time.monotonic() - self.heard_s > silent_s:
            return f"{self.name} has not been heard for {silent_s:.0f} s"
        return None

    def end(self) -> None:
        """Let it end; one that does not is killed."""
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]
        try:
            self.process.wait(BEAT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _listen(self) -> None:
        for line in self.process.stdout:  # type: ignore[union-attr]
            self.heard_s = time.monotonic()
            if line.strip() == "ready":
                self.ready.set()

    def _collect(self) -> None:
        for line in self.process.stderr:  # type: ignore[union-attr]
            if line.strip() and not line.startswith("[ring]"):
                self._errors.append(line.strip())


def command(host: Host) -> list[str]:
    """What starts a rank on a machine."""
    if host.local:
        return [host.python or sys.executable, "-m", MODULE]
    return [*SSH, host.ssh, host.python or "python3", "-m", MODULE]


def start(hosts: Hosts) -> list[RankProcess]:
    """Start all ranks but 0; each is ready to connect when this returns.

    Raises:
        HostsError: a machine cannot be reached, or the program does not start there.
    """
    others = list(enumerate(hosts.machines))[1:]
    processes: list[RankProcess] = []
    try:
        for rank, host in others:
            processes.append(RankProcess(host, rank))
            setup = {"rank": rank, "ring": hosts.ring, "timeout_s": hosts.timeout_s}
            own = {"memory": host.memory, "models": host.models}
            processes[-1].tell(json.dumps(setup | own))
        for one in processes:
            _await(one)
    except HostsError:
        end(processes)
        raise
    for one in processes:
        one.tell("go")
    return processes


def end(processes: Sequence[RankProcess]) -> None:
    """End all of them."""
    for one in processes:
        one.end()


def _await(one: RankProcess) -> None:
    ends_s = time.monotonic() + START_S
    while not one.ready.wait(BEAT_S / 10):
        trouble = one.trouble(START_S)
        if trouble is None and time.monotonic() > ends_s:
            trouble = f"{one.name} is not ready after {START_S:.0f} s"
        if trouble is not None:
            way = "" if one.host.local else f" Try `ssh {one.host.ssh}`, without a password;"
            raise HostsError(
                f"{trouble}.{way} mlx-deepseek must be installed there for "
                f"{one.host.python or 'python3'} (`python` in the hosts file)."
            )
