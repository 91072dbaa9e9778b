"""What Lean may touch while it checks a model's text: its own files, one folder, no network.

Linux: bubblewrap where it runs, else Landlock, which needs no program and no privileges. macOS:
`sandbox-exec` (written after its manual, not run by this project yet).
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.supervisor import landlock_version

Kind = Literal["bubblewrap", "landlock", "sandbox-exec", "none"]

# What programs of a system read to start; Lean asks /dev/urandom and aborts without it.
SYSTEM = {
    "linux": ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/proc/self"),
    "darwin": ("/usr/lib", "/System", "/Library/Apple", "/private/var/db/dyld"),
}
DEVICES = ("/dev/urandom", "/dev/null")


@dataclass(frozen=True)
class Access:
    """Folders and files that a command may read, and folders that it may write."""

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Confined:
    """A command as it is to be started: wrapped, or with rules that its supervisor sets."""

    command: list[str]
    landlock: dict[str, Any] | None = field(default=None)


def confine(
    kind: Kind, command: Sequence[str], access: Access, env: Mapping[str, str], cwd: Path
) -> Confined:
    """The command inside a sandbox of this kind."""
    readable = [*SYSTEM.get(sys.platform, ()), *map(str, access.readable)]
    writable = list(map(str, access.writable))
    if kind == "bubblewrap":
        return Confined(_bubblewrap(command, readable, writable, env, cwd))
    if kind == "landlock":
        return Confined(list(command), {"readable": [*readable, *DEVICES], "writable": writable})
    if kind == "sandbox-exec":
        return Confined(
            ["/usr/bin/sandbox-exec", "-p", _profile([*readable, *DEVICES], writable), *command]
        )
    return Confined(list(command))


@cache
def available() -> tuple[Kind, ...]:
    """The sandboxes of this machine that work, the strongest first."""
    found: list[Kind] = []
    if sys.platform == "linux":
        if _runs_bubblewrap():
            found.append("bubblewrap")
        if landlock_version():
            found.append("landlock")
    elif sys.platform == "darwin" and Path("/usr/bin/sandbox-exec").exists():
        found.append("sandbox-exec")
    return tuple(found)


def choose(*, unsafe: bool = False) -> Kind:
    """The strongest sandbox of this machine.

    Raises:
        LeanError: there is none, and `unsafe` is not set.
    """
    if kinds := available():
        return kinds[0]
    if unsafe:
        return "none"
    raise LeanError(
        "No sandbox on this machine: a proof could run any code while Lean checks it. Expected "
        "bubblewrap, a Linux kernel with Landlock (5.13), or macOS's sandbox-exec; install "
        "bubblewrap, or go on without one (`--unsafe`)."
    )


def _bubblewrap(
    command: Sequence[str],
    readable: Sequence[str],
    writable: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
) -> list[str]:
    words = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    words += ["--proc", "/proc"]
    for path in DEVICES:
        words += ["--dev-bind", path, path]
    for path in (path for path in readable if not path.startswith("/proc")):
        words += ["--ro-bind-try", path, path]
    for path in writable:
        words += ["--bind", path, path]
    for name, value in env.items():
        words += ["--setenv", name, value]
    # What holds the mount points is in memory: nothing may be written there.
    return [*words, "--remount-ro", "/", "--chdir", str(cwd), "--", *command]


def _runs_bubblewrap() -> bool:
    """Some systems have the program and forbid what it does."""
    if shutil.which("bwrap") is None:
        return False
    command = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "/bin/true"]
    return subprocess.run(command, capture_output=True, timeout=10).returncode == 0


def _profile(readable: Sequence[str], writable: Sequence[str]) -> str:
    """A seatbelt profile; paths are quoted as its strings are."""

    def paths(names: Sequence[str]) -> str:
        quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
        return " ".join(f'(subpath "{name}")' for name in quoted)

    return "\n".join(
        (
            "(version 1)",
            "(deny default)",
            "(allow process-fork process-exec sysctl-read mach-lookup file-read-metadata)",
            f"(allow file-read* {paths([*readable, *writable])})",
            f"(allow file-write* {paths(writable)})",
        )
    )
