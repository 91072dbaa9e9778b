"""One command under limits, and none of its processes left: a small program of its own.

Run as `python -I -S supervisor.py SPEC`. It imports the standard library only, has one thread (so
code between fork and exec is safe), and outlives neither its caller nor its child. It ends
everything when the caller closes a pipe or dies.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

POLL_S = 0.1 if sys.platform == "linux" else 0.5  # elsewhere a look costs a process
SET_PDEATHSIG, SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS = 1, 36, 38
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# Landlock's rights to files (linux/landlock.h): execute, read file, read folder; what changes.
READ = 1 << 0 | 1 << 2 | 1 << 3
WRITE = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 14
OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446


def landlock_version() -> int:
    """The version of Landlock that this kernel has; 0 without."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    return max(version, 0)


def confine(readable: list[str], writable: list[str]) -> None:
    """Let this process and its children read and write below these paths only; no network.

    Raises:
        OSError: the kernel refuses.
    """
    libc, version = ctypes.CDLL(None, use_errno=True), landlock_version()
    # Without a network namespace, Landlock still refuses TCP from version 4 on.
    libc.unshare(CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWUSER | CLONE_NEWNET)
    since = ((2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
    files = (1 << 13) - 1 | sum(bit for needed, bit in since if version >= needed)
    handled = (files, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    attribute = struct.pack("=QQQ", *handled)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = libc.syscall(
        CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), ctypes.c_uint32(0)
    )
    if rules < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for path, rights in [(p, READ) for p in readable] + [(p, READ | WRITE) for p in writable]:
        if not os.path.exists(path):
            continue
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rights &= files if os.path.isdir(path) else files & OF_FILES
        rule = struct.pack("=Qi", rights, fd)
        if libc.syscall(ADD_RULE, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0)):
            raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
        os.close(fd)
    libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.syscall(RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")


def prepare(spec: dict[str, Any]) -> None:
    """Runs in the child before the command does."""
    limits = spec["limits"]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"],) * 2)
    if limits["cpu_s"]:
        resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_s"], limits["cpu_s"] + 5))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if spec["landlock"]:
        confine(spec["landlock"]["readable"], spec["landlock"]["writable"])


def descendants() -> dict[int, int]:
    """Resident bytes of every process below this one, by its number."""
    if sys.platform == "linux":
        return _linux_descendants()
    table = subprocess.run(["/bin/ps", "-axo", "pid=,ppid=,rss="], capture_output=True, text=True)
    rows = [tuple(map(int, line.split())) for line in table.stdout.splitlines() if line.strip()]
    found: dict[int, int] = {}
    parents = {os.getpid()}
    while parents:
        below = {pid: 1024 * rss for pid, parent, rss in rows if parent in parents}
        parents = set(below) - set(found)
        found |= below
    return found


def _linux_descendants() -> dict[int, int]:
    page, found, todo = resource.getpagesize(), {}, [os.getpid()]
    while todo:
        for listed in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for pid in map(int, listed.read_text().split()):
                    todo.append(pid)
                    found[pid] = 0
                    with contextlib.suppress(OSError):
                        found[pid] = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
    return found


def folder_bytes(folder: str) -> int:
    """What the files of a folder take on the disk."""
    total = 0
    for path in Path(folder).rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def end_everything(group: int) -> None:
    """Kill until nothing is left below this process; children of killed ones come to it."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        for pid in descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def watch(spec: dict[str, Any], child: subprocess.Popen[bytes], woken: int) -> tuple[str, int]:
    """Wait for the child's end or for what ends it: why, and its largest resident bytes."""
    limits, start, peak = spec["limits"], time.monotonic(), 0
    while child.poll() is None:
        ready, _, _ = select.select([spec["alive_fd"], woken], [], [], POLL_S)
        if spec["alive_fd"] in ready:
            return "closed", peak
        if woken in ready:
            os.read(woken, 512)
        peak = max(peak, sum(descendants().values()))
        if limits["seconds"] and time.monotonic() - start > limits["seconds"]:
            return "time", peak
        if peak > limits["resident_bytes"]:
            return "memory", peak
        if spec["folder"] and folder_bytes(spec["folder"]) > limits["folder_bytes"]:
            return "disk", peak
    return "", peak


def main(spec: dict[str, Any]) -> None:
    """Run the command of `spec` and report how it ended on its `report_fd`."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    report: dict[str, Any] = {"returncode": None, "stopped": "", "peak_bytes": 0}
    try:
        child = subprocess.Popen(
            spec["command"],
            cwd=spec["cwd"],
            env=spec["env"],
            start_new_session=True,
            preexec_fn=lambda: prepare(spec),
        )
    except (OSError, subprocess.SubprocessError) as error:
        report |= {"stopped": "start", "error": str(error)}
    else:
        try:
            report["stopped"], report["peak_bytes"] = watch(spec, child, woken)
            report["returncode"] = child.poll()
        finally:
            end_everything(child.pid)
    with contextlib.suppress(OSError):
        os.write(spec["report_fd"], json.dumps(report).encode())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
