"""The hosts file: which machines there are, in the format of `mlx.launch`, and a little more."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_deepseek.errors import ConfigError

STARTING_PORT = 32323  # as mlx.launch's
TIMEOUT_S = 300.0
LOCAL = ("localhost", "127.0.0.1", "::1")
EXAMPLE = '[{"ssh": "studio.local", "ips": ["10.0.0.1"]}, {"ssh": "mini.local", "ips": [...]}]'


@dataclass(frozen=True)
class Host:
    """A machine: how to log in, its address for the others, its Python, and a memory limit.

    `models` is the folder in which it has the folders of models, if that is another one than here.
    """

    ssh: str
    address: str
    port: int
    python: str | None = None
    memory: str | None = None
    models: str | None = None

    @property
    def local(self) -> bool:
        """Whether it is this machine."""
        return self.ssh in (*LOCAL, socket.gethostname())


@dataclass(frozen=True)
class Hosts:
    """All machines, by rank; this one is the first. No step may take longer than `timeout_s`."""

    machines: tuple[Host, ...]
    timeout_s: float = TIMEOUT_S

    @property
    def ring(self) -> list[list[str]]:
        """Addresses by rank, as MLX's ring reads them."""
        return [[f"{host.address}:{host.port}"] for host in self.machines]


def read_hosts(path: Path) -> Hosts:
    """Read a hosts file, a list of machines or an object with such a list in `hosts`.

    Raises:
        ConfigError: it is missing or says something else.
    """
    try:
        content = json.loads(path.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _wrong(path, str(error)) from error
    entries = content.get("hosts") if isinstance(content, Mapping) else content
    if not isinstance(entries, list) or len(entries) < 2:
        raise _wrong(path, "it has no list of at least two machines")
    timeout_s = content.get("timeout_s", TIMEOUT_S) if isinstance(content, Mapping) else TIMEOUT_S
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, (int, float)) or timeout_s <= 0:
        raise _wrong(path, f"timeout_s is {timeout_s!r:.40}, not seconds")
    machines = tuple(_host(path, entry, rank) for rank, entry in enumerate(entries))
    if not machines[0].local:
        raise _wrong(path, f"the first machine, {machines[0].ssh}, is not this one")
    return Hosts(machines, float(timeout_s))


def _host(path: Path, entry: Any, rank: int) -> Host:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("ssh"), str):
        raise _wrong(path, f"machine {rank} has no name to log in to, `ssh`")
    name, addresses = entry["ssh"], entry.get("ips") or []
    if not addresses and name in LOCAL:
        addresses = ["127.0.0.1"]
    if not addresses or not isinstance(addresses[0], str):
        raise _wrong(path, f"{name} has no address for the others, `ips`")
    port = entry.get("port", STARTING_PORT + rank)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 1 << 16:
        raise _wrong(path, f"{name} has port {port!r:.40}")
    more = {key: entry.get(key) for key in ("python", "memory", "models")}
    for key, value in more.items():
        if value is not None and not isinstance(value, str):
            raise _wrong(path, f"{name} has {key} {value!r:.40}, not a text")
    return Host(name, addresses[0], port, **more)


def _wrong(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path}: {what}. Expected the machines of `mlx.distributed_config`, this one first: "
        f"{EXAMPLE}."
    )
