"""Kernels of ours for GPUs, written once for Metal and CUDA.

A kernel is asked once whether it finds what MLX's operations find. Where it does not, or cannot be
built, the operations do the work.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import mlx.core as mx

# What Metal and CUDA call differently: a thread's number of all, its number in its group, the
# group's number, memory of a group, waiting for a group, and the exact exponential and logarithm.
METAL = {
    "GPU_INDEX": "thread_position_in_grid.x",
    "GPU_THREAD": "thread_position_in_threadgroup.x",
    "GPU_GROUP": "threadgroup_position_in_grid.x",
    "GPU_SHARED": "threadgroup",
    "GPU_WAIT": "threadgroup_barrier(mem_flags::mem_threadgroup)",
    "GPU_EXP": "metal::precise::exp",
    "GPU_LOG": "metal::precise::log",
}
CUDA = {
    "GPU_INDEX": "cooperative_groups::this_grid().thread_rank()",
    "GPU_THREAD": "threadIdx.x",
    "GPU_GROUP": "blockIdx.x",
    "GPU_SHARED": "__shared__",
    "GPU_WAIT": "__syncthreads()",
    "GPU_EXP": "expf",
    "GPU_LOG": "logf",
}

Kernel = TypeVar("Kernel")


def build(name: str, inputs: Sequence[str], outputs: Sequence[str], body: str) -> Any:
    """MLX's kernel of a function's body in this device's language.

    Raises:
        RuntimeError, ValueError: this build of MLX, or the device, has no such kernels.
    """
    metal = mx.metal.is_available()
    make: Any = mx.fast.metal_kernel if metal else mx.fast.cuda_kernel
    source = in_words_of(METAL if metal else CUDA, body)
    return make(name=name, input_names=list(inputs), output_names=list(outputs), source=source)


def in_words_of(language: dict[str, str], body: str) -> str:
    """The body with a language's names."""
    for ours, theirs in language.items():
        body = body.replace(ours, theirs)
    return body


def trusted(build: Callable[[], Kernel], is_right: Callable[[Kernel], bool]) -> Kernel | None:
    """What is built, if it can be and is right."""
    try:
        kernel = build()
        return kernel if is_right(kernel) else None
    except (RuntimeError, ValueError):
        return None
