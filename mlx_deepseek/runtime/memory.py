"""How much memory this machine gives a program, and what fits into it."""

import os
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

# Left to activations, the prompt's attention scores and other programs.
RESERVED_FRACTION = 1 / 8


# What device_info calls the memory of Metal (what one program should use) and of CUDA.
DEVICE_KEYS = ("max_recommended_working_set_size", "memory_size", "total_memory")


# Per weight, scales included, of the mixtures of experts; more where every token passes through.
ESTIMATED_BITS = {"bf16": 16.0, "8bit": 8.5, "6bit": 6.5, "4bit": 4.8, "3bit": 3.9, "2bit": 3.2}


UNLIMITED = 1 << 60  # version 1 control groups write a huge number for "no limit"


@dataclass(frozen=True)
class Fit:
    """Whether a model fits; all in bytes but `context`, the longest in tokens (0: none)."""

    context: int
    weights_bytes: int
    cache_bytes: int  # at `context`
    usable_bytes: int

    @property
    def fits(self) -> bool:
        """Whether at least one token fits."""
        return self.context > 0


def machine_memory_bytes() -> int:
    """Memory that one program may use: the accelerator's, else the machine's or container's."""
    info = mx.device_info()
    for key in DEVICE_KEYS:
        if int(info.get(key, 0)):
            return int(info[key])
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(total, control_group_limit() or total)


def control_group_limit(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int | None:
    """The tightest memory limit in bytes of Linux control groups around us; None without one."""
    folders = {root, root / "memory"}
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        start = root / "memory" if "memory" in controllers.split(",") else root
        inner = start / path.lstrip("/")
        folders |= {inner, *(folder for folder in inner.parents if root in folder.parents)}
    limits = [
        limit
        for folder in folders
        for name in ("memory.max", "memory.limit_in_bytes")
        if (limit := _read_limit(folder / name)) is not None
    ]
    return min(limits, default=None)


def fits(weights_bytes: int, cache_per_token: int, machine_bytes: int, context: int) -> Fit:
    """The longest context, at most `context` tokens, that fits beside the weights."""
    usable = int(machine_bytes * (1 - RESERVED_FRACTION))
    longest = max(0, min(context, (usable - weights_bytes) // max(cache_per_token, 1)))
    return Fit(longest, weights_bytes, longest * cache_per_token, usable)


def estimate_bytes(parameters: int, recipe: str = "4bit") -> int:
    """Bytes of a model's weights after conversion with a recipe of ESTIMATED_BITS.

    Of the 4-bit recipe: within 6 % from 16 billion parameters on; small models, mostly embedding,
    take up to 15 % more.
    """
    return int(parameters * ESTIMATED_BITS[recipe] / 8)


def fits_beside(nbytes: int) -> bool:
    """Whether weights of `nbytes` fit beside all that MLX holds in memory now."""
    return fits(mx.get_active_memory() + nbytes, 1, machine_memory_bytes(), 1).fits


def _read_limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and 0 < int(text) < UNLIMITED else None
