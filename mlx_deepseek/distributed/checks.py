"""What machines tell of themselves, and whether they fit together."""

import platform
import socket
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import mlx.core as mx

from mlx_deepseek.checkpoint.room import held_bytes, limit_bytes
from mlx_deepseek.distributed.link import Link
from mlx_deepseek.distributed.plan import Machine
from mlx_deepseek.errors import HostsError
from mlx_deepseek.runtime import memory as machine_memory
from mlx_deepseek.runtime.speed import product_bytes_per_s

SAME = ("mlx-deepseek", "mlx", "mlx-lm")  # programs whose versions decide what is computed
LARGE_BYTES, SMALL_BYTES = 1 << 26, 1 << 10
REPEATS = 3


def facts(memory: str | int | None = None) -> dict[str, Any]:
    """This machine: programs, device, and what it has for weights and context.

    `memory`, as "48GB", is in place of all that the machine has.
    """
    allowed = machine_memory.machine_memory_bytes() if memory is None else limit_bytes(memory)
    usable = machine_memory.fits(0, 1, allowed, 1).usable_bytes
    return {
        "host": socket.gethostname(),
        "versions": {name: version(name) for name in SAME},
        "python": platform.python_version(),
        "device": str(mx.device_info().get("device_name", mx.default_device())),
        "usable_bytes": max(0, usable - held_bytes()),
        "limited": memory is not None,
    }


def require_same(names: Sequence[str], found: Sequence[Mapping[str, Any]], key: str) -> None:
    """Raise HostsError unless all machines have told the same of `key` as rank 0."""
    for name, one in zip(names, found, strict=True):
        if one[key] != found[0][key]:
            raise HostsError(f"{name} has {REMEDIES[key].format(one[key], found[0][key])}")


REMEDIES = {
    "versions": "{} where this machine has {}. Expected the same; update the older one.",
    "digest": "other weights (digest {:.12} where this machine has {:.12}). Expected the same "
    "files; copy the folder from here, or download the same revision there.",
}


def machines(names: Sequence[str], found: Sequence[Mapping[str, Any]]) -> list[Machine]:
    """What each rank may hold; ranks on one machine share its memory, unless limits are given."""
    hosts = [one["host"] for one in found]
    return [
        Machine(name, one["usable_bytes"] // (1 if one["limited"] else hosts.count(one["host"])))
        for name, one in zip(names, found, strict=True)
    ]


def speeds() -> dict[str, Any]:
    """Bytes per second at which this machine multiplies with weights."""
    return {"memory": product_bytes_per_s()}


def speed(link: Link) -> dict[str, Any]:
    """Bytes per second and seconds per message of a link, as rank 0 measures them once around."""
    large = min(_around(link, LARGE_BYTES) for _ in range(REPEATS))
    small = min(_around(link, SMALL_BYTES) for _ in range(REPEATS))
    return {"bytes_per_s": LARGE_BYTES / large, "latency_s": small}


def _around(link: Link, nbytes: int) -> float:
    """Seconds per link for so many bytes, which each rank hands on when it has all of them."""
    began = time.perf_counter()
    if link.rank == 0:
        link.send(mx.zeros((nbytes,), mx.uint8))
        mx.eval(link.receive([nbytes], mx.uint8))
    else:
        array = link.receive([nbytes], mx.uint8)
        link.send(array)
        mx.eval(array)
    return (time.perf_counter() - began) / link.size
