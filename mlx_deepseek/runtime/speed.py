"""How fast this machine reads and computes, measured in about a second each."""

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_deepseek.runtime.cpu import available_cores, parallelise
from mlx_deepseek.runtime.device import on_gpu
from mlx_deepseek.runtime.file_reader import IN_FLIGHT, PIECE_BYTES, FileReader, Part

# Larger than any cache of the processor.
COPY_BYTES_GPU, COPY_BYTES_CPU = 1 << 30, 1 << 27
REPEATS, PRODUCTS_S = 5, 1.0  # the fastest of so many, of fewer where they take longer than that
PRODUCT_BYTES_GPU, PRODUCT_BYTES_CPU = 1 << 30, 1 << 26
WIDTH = 4096  # of the matrices
READ_S = 1.0


def copy_bytes_per_s() -> float:
    """Bytes read and written per second by this device's fastest copy of a large array.

    A CPU copies on all cores, as it computes quantized products on all.
    """
    parts = 1 if on_gpu() else available_cores()
    nbytes = (COPY_BYTES_GPU if on_gpu() else COPY_BYTES_CPU) // parts
    sources = [mx.zeros(nbytes // 4, mx.float32) + part for part in range(parts)]
    streams = [mx.default_stream(mx.default_device())]
    streams += [mx.new_thread_local_stream(mx.cpu) for _ in range(parts - 1)]
    mx.eval(sources)
    fastest = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        copies = [
            mx.add(source, 1.0, stream=stream)
            for source, stream in zip(sources, streams, strict=True)
        ]
        mx.eval(copies)
        fastest = min(fastest, time.perf_counter() - began)
    return 2 * nbytes * parts / fastest


def product_bytes_per_s(rows: int = 1, bits: int = 4) -> float:
    """Bytes of quantized weights times `rows` per second that this device multiplies rows with.

    Of one row, on a GPU, that is how fast it reads them.
    """
    made = nn.Sequential(*matrices(bits, rows))
    layers: list[Any] = (made if on_gpu() else parallelise(made)).layers  # type: ignore[assignment]
    x = mx.ones((rows, WIDTH), mx.float32 if not on_gpu() else mx.bfloat16)
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < PRODUCTS_S:
        began = time.perf_counter()
        mx.eval([layer(x) for layer in layers])
        times.append(time.perf_counter() - began)
    nbytes = sum(array.nbytes for layer in layers for array in arrays(layer))
    return nbytes * rows / min(times)


def matrices(bits: int, rows: int) -> list[nn.Module]:
    """Quantized square layers of enough bytes together that no cache holds them.

    Fewer for many rows: these take their time by computing, not by reading.
    """
    dtype = mx.bfloat16 if on_gpu() else mx.float32
    each = WIDTH * WIDTH * bits // 8
    count = (PRODUCT_BYTES_GPU if on_gpu() else PRODUCT_BYTES_CPU) // (each * rows)
    made = []
    for number in range(max(1, count)):
        line = nn.Linear(WIDTH, 1, bias=False)
        line.weight = mx.full((1, WIDTH), 0.01 * (number + 1), dtype)
        made.append(layer := nn.QuantizedLinear.from_linear(line, 64, bits))
        for name in ("weight", "scales", "biases"):
            layer[name] = mx.repeat(layer[name], WIDTH, axis=0)
        mx.eval(arrays(layer))
    return made


def arrays(layer: nn.Module) -> list[mx.array]:
    """A layer's own arrays."""
    return [value for value in layer.values() if isinstance(value, mx.array)]


def disk_bytes_per_s(files: Sequence[Path]) -> float:
    """Bytes per second of reads at random places of files, as experts are read; cold if possible.

    Raises:
        CheckpointError: a file cannot be read.
    """
    reader, chance = FileReader(files), random.Random(time.time_ns())
    memory = np.empty((2 * IN_FLIGHT, PIECE_BYTES), np.uint8)
    began, total = time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < READ_S:
        parts = [piece(chance.choice(files), chance, row) for row in memory]
        forget(parts)
        reader.start(parts).wait()
        total += sum(part.nbytes for part in parts)
    return total / passed if total else 0.0


def piece(file: Path, chance: random.Random, memory: np.ndarray) -> Part:
    """A random part of a file, as long as `memory` or the file."""
    size = file.stat().st_size
    nbytes = min(size, len(memory))
    return Part(file, chance.randrange(size - nbytes + 1), nbytes, memory[:nbytes])


def forget(parts: Sequence[Part]) -> None:
    """Take parts out of the page cache, where the system has a way to."""
    if not hasattr(os, "posix_fadvise"):
        return
    for part in parts:
        descriptor = os.open(part.file, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, part.offset, part.nbytes, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
