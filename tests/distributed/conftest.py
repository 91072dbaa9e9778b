"""Groups of processes on this machine, started once for all tests that use them."""

import json
import os
import select
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

RANK0 = Path(__file__).with_name("rank0.py")
ANSWER_S = 120.0


class Ring:
    """Rank 0 of a group, as a process that is told what to do."""

    def __init__(self, folder: Path, size: int, timeout_s: float, **more: Any):
        hosts = [
            {"ssh": "localhost", "port": port, "memory": "4GB", **(more if rank else {})}
            for rank, port in enumerate(free_ports(size))
        ]
        file = folder / f"hosts-{size}-{hosts[0]['port']}.json"
        file.write_text(json.dumps({"timeout_s": timeout_s, "hosts": hosts}))
        self.file = file
        self.process = subprocess.Popen(
            [sys.executable, str(RANK0), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / f"{file.stem}.log").open("w"),
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def start(self, do: str, **facts: Any) -> None:
        """Have something done, without waiting for it."""
        self.process.stdin.write(json.dumps({"do": do, **facts}) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """What comes back, "ok" or "error"."""
        ready, _, _ = select.select([self.process.stdout], [], [], ANSWER_S)
        assert ready, "rank 0 does not answer"
        line = self.process.stdout.readline()
        assert line, f"rank 0 has ended with status {self.process.wait()}"
        return json.loads(line)

    def __call__(self, do: str, **facts: Any) -> Any:
        """What was asked for."""
        self.start(do, **facts)
        found = self.answer()
        assert "ok" in found, found
        return found["ok"]

    def refused(self, do: str, **facts: Any) -> tuple[str, str]:
        """The error's class and text."""
        self.start(do, **facts)
        found = self.answer()
        assert "error" in found, found
        return found["kind"], found["error"]

    def end(self) -> int:
        """The status with which rank 0 ends, and soon."""
        self.process.stdin.close()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody uses."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids: list[int]) -> bool:
    """Whether all processes have ended."""
    return not any(map(alive, pids))


@pytest.fixture(scope="session")
def rings(tmp_path_factory):
    """Makes groups that end with the block; `more` stands in the hosts file of all but rank 0."""
    folder = tmp_path_factory.mktemp("rings")

    @contextmanager
    def make(size: int, timeout_s: float = 60.0, **more: Any):
        ring = Ring(folder, size, timeout_s, **more)
        try:
            yield ring
        finally:
            ring.end()

    return make


@pytest.fixture(scope="session")
def two(rings):
    """Two processes."""
    with rings(2) as ring:
        yield ring


@pytest.fixture(scope="session")
def three(rings):
    """Three processes."""
    with rings(3) as ring:
        yield ring
