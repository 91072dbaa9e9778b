"""Groups of processes on this machine, started once for all tests that use them."""

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import mlx_deepseek as ds
from tests.distributed.rank0 import PROMPTS, tokens

RANK0 = Path(__file__).with_name("rank0.py")
ANSWER_S = 120.0


class Ring:
    """Rank 0 of a group, as a process that is told what to do."""

    def __init__(self, folder: Path, memory: Sequence[str], timeout_s: float, **more: Any):
        self.file = file = written(folder, memory, timeout_s, **more)
        self.process = subprocess.Popen(
            [sys.executable, str(RANK0), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / f"{file.stem}.log").open("w"),
            text=True,
            env=environment(),
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


def written(folder: Path, memory: Sequence[str], timeout_s: float, **more: Any) -> Path:
    """A hosts file of processes with such memory limits, `more` for all but rank 0."""
    hosts = [
        {"ssh": "localhost", "port": port, "memory": own, **(more if rank else {})}
        for rank, (port, own) in enumerate(zip(free_ports(len(memory)), memory, strict=True))
    ]
    file = folder / f"hosts-{len(memory)}-{hosts[0]['port']}.json"
    file.write_text(json.dumps({"timeout_s": timeout_s, "hosts": hosts}))
    return file


def environment() -> dict[str, str]:
    """Where a process of its own finds this package and the tests."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


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
    """Makes groups that end with the block; `more` stands in the hosts file of all but rank 0.

    They are so many processes, or one for each memory limit.
    """
    folder = tmp_path_factory.mktemp("rings")

    @contextmanager
    def make(size: int | Sequence[str], timeout_s: float = 60.0, **more: Any):
        memory = ["4GB"] * size if isinstance(size, int) else size
        ring = Ring(folder, memory, timeout_s, **more)
        try:
            yield ring
        finally:
            ring.end()

    return make


@pytest.fixture
def hosts_file(tmp_path):
    """Writes a hosts file."""
    return lambda memory: written(tmp_path, memory, 60.0)


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


@pytest.fixture(scope="module")
def alone(goldens_root):
    """Engines of this process, and what they write, each computed once."""
    made: dict[str, ds.Engine] = {}
    written: dict[str, list] = {}

    def engine(case: str, **caching):
        key = f"{case} {caching}"
        if key not in made:
            options = {} if case == "nano" else {"dtype": "float32"}
            source = case if case == "nano" else goldens_root / case
            made[key] = ds.load(source, caching=ds.Caching(**caching), **options)
        return made[key]

    def write(case: str, sampling, prompts=PROMPTS, count=8, **caching):
        key = f"{case} {sampling} {prompts} {count} {caching}"
        if key not in written:
            written[key] = tokens(engine(case, **caching), prompts, count, sampling)
        return written[key]

    write.engine = engine
    return write
