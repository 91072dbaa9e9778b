"""What the layers must know of the device that they are computed on."""

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

import mlx.core as mx


def on_gpu() -> bool:
    """Whether MLX computes on a GPU."""
    return mx.default_device().type == mx.DeviceType.gpu


def compute_item_bytes() -> int:
    """Bytes of a number that is computed with: a CPU has no arithmetic in 16 bits."""
    return 2 if on_gpu() else 4


_plain = 0  # blocks that are open
_counting = threading.Lock()


@contextmanager
def uncompiled() -> Generator[None]:
    """On a CPU, run functions that `mx.compile` has wrapped as they were written.

    MLX compiles for a CPU with the machine's C++ compiler, seconds of it for a first answer, and
    that gains a few per cent (docs/measurements.md). On GPUs this changes nothing, nor where
    MLX_DISABLE_COMPILE has been set. MLX has one switch for all threads: it is on again once the
    last of these blocks ends.
    """
    global _plain
    if on_gpu() or "MLX_DISABLE_COMPILE" in os.environ:
        yield
        return
    with _counting:
        _plain += 1
        mx.disable_compile()
    try:
        yield
    finally:
        with _counting:
            _plain -= 1
            if not _plain:
                mx.enable_compile()
