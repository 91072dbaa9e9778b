"""Starting a command under the supervisor: pipes to it, and how it ended."""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypedDict, Unpack

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving import supervisor
from mlx_deepseek.proving.sandbox import Access, Kind, confine

MiB = 1 << 20
GRACE_S = 20.0  # for the supervisor to end everything
# What Lean says when it ends by its own limit (-M), often before the supervisor looks.
NO_MEMORY = b"excessive memory consumption"


@dataclass(frozen=True)
class Limits:
    """Of one process with all its children; 0 seconds: none.

    `resident_bytes` counts memory in use: Lean maps gigabytes that it never touches.
    """

    seconds: float = 300.0
    cpu_s: int = 0
    resident_bytes: int = 8192 * MiB
    file_bytes: int = 1024 * MiB
    folder_bytes: int = 2048 * MiB
    output_bytes: int = 16 * MiB


@dataclass(frozen=True)
class Ended:
    """How a command ended; `stopped` says which limit did it: time, memory, disk, output."""

    returncode: int | None
    stopped: str = ""
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0
    peak_bytes: int = 0


class Confinement(TypedDict):
    """Where a command runs, with what it sees, and within which limits."""

    cwd: Path
    env: Mapping[str, str]
    limits: Limits
    sandbox: Kind
    access: Access


def own_limit(returncode: int | None, errors: bytes) -> str:
    """Say "memory" if Lean ended itself for want of it, and told so; else nothing."""
    return "memory" if returncode and NO_MEMORY in errors else ""


class StopSignal:
    """Ends everything that was started with it, from any thread; what comes later is refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Process] = set()
        self.is_set = False

    def stop(self) -> None:
        """End it all, now."""
        with self._lock:
            self.is_set = True
            for process in self._running:
                process.kill()

    def add(self, process: "Process") -> None:
        """From now on it is ended with the others."""
        with self._lock:
            self._running.add(process)
            if self.is_set:
                process.kill()

    def remove(self, process: "Process") -> None:
        """It has ended."""
        with self._lock:
            self._running.discard(process)


class Process:
    """A running command with pipes for its input, output and errors.

    `stop` (or the end of this process, however it ends) kills it with all that it started. With a
    file for `errors` there is no pipe of them.

    Raises:
        LeanError: it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        errors: IO[bytes] | None = None,
        stop: StopSignal | None = None,
        **within: Unpack[Confinement],
    ):
        cwd, env, access = within["cwd"], within["env"], within["access"]
        confined = confine(within["sandbox"], command, access, env, cwd)
        self._lock, self._killed = threading.Lock(), False
        alive, self._alive = os.pipe()  # its other end closes when this process dies
        self._report, report = os.pipe()
        path = {"PATH": os.environ.get("PATH", "")} if within["sandbox"] == "bubblewrap" else {}
        spec = {
            "command": confined.command,
            "landlock": confined.landlock,
            "cwd": str(cwd),
            "env": {**env, **path},
            "limits": vars(within["limits"]),
            "folder": str(access.writable[0]) if access.writable else "",
            "alive_fd": alive,
            "report_fd": report,
        }
        self.started = time.monotonic()
        self.popen = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(supervisor.__file__)), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if errors is None else errors,
            pass_fds=(alive, report),
            start_new_session=True,  # an interrupt at the terminal is this process's to handle
        )
        os.close(alive)
        os.close(report)
        self._errors = errors
        self._ended: Ended | None = None
        self._signal = stop
        if stop is not None:
            stop.add(self)

    def kill(self) -> None:
        """Have it ended; any thread may, while another one reads from it."""
        with self._lock:
            if not self._killed:
                self._killed = True
                os.close(self._alive)

    def stop(self, reason: str = "") -> Ended:
        """End it if it runs; wait until nothing of it is left."""
        if self._ended is not None:
            return self._ended
        self.kill()
        if self._signal is not None:
            self._signal.remove(self)
        try:
            self.popen.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        with os.fdopen(self._report, "rb") as file:
            told = file.read()
        for pipe in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        report = json.loads(told) if told else {"returncode": None, "stopped": "killed"}
        if report["stopped"] == "start":
            raise LeanError(f"Lean cannot be started: {report['error']}. Check its installation.")
        stopped = reason or report["stopped"]
        if not stopped and self._errors is not None:
            self._errors.seek(0)
            stopped = own_limit(report["returncode"], self._errors.read(MiB))
        self._ended = Ended(
            report["returncode"],
            "" if stopped == "closed" else stopped,
            seconds=time.monotonic() - self.started,
            peak_bytes=report.get("peak_bytes", 0),
        )
        return self._ended


def run(
    command: Sequence[str], *, stop: StopSignal | None = None, **within: Unpack[Confinement]
) -> Ended:
    """Run a command to its end, or to its limits, and take what it writes.

    Raises:
        LeanError: it cannot be started.
    """
    process = Process(command, stop=stop, **within)
    popen, reason, limits = process.popen, "", within["limits"]
    assert popen.stdin
    assert popen.stdout
    assert popen.stderr
    written: dict[str, bytearray] = {"out": bytearray(), "err": bytearray()}
    try:
        popen.stdin.close()
        with selectors.DefaultSelector() as selector:
            selector.register(popen.stdout, selectors.EVENT_READ, "out")
            selector.register(popen.stderr, selectors.EVENT_READ, "err")
            while selector.get_map() and not reason:
                for key, _ in selector.select(1.0):
                    data = os.read(key.fd, 1 << 16)
                    written[key.data] += data
                    if not data:
                        selector.unregister(key.fileobj)
                if sum(map(len, written.values())) > limits.output_bytes:
                    reason = "output"
                if limits.seconds and time.monotonic() - process.started > limits.seconds + GRACE_S:
                    reason = "time"
        if not reason:
            with contextlib.suppress(subprocess.TimeoutExpired):
                popen.wait(GRACE_S)
    finally:
        ended = process.stop(reason)
    return Ended(
        ended.returncode,
        ended.stopped or own_limit(ended.returncode, bytes(written["err"])),
        bytes(written["out"]),
        bytes(written["err"]),
        ended.seconds,
        ended.peak_bytes,
    )
