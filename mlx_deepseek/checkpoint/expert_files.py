"""Routed experts stay in the checkpoint's files; slots in memory take those that tokens choose."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_deepseek.checkpoint.files import file_header, weight_files
from mlx_deepseek.checkpoint.mlx_vlm_names import renamed
from mlx_deepseek.checkpoint.safetensors_header import DTYPES, TensorInfo
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.expert_slots import ExpertSlots, Traffic
from mlx_deepseek.layers.moe import MoE
from mlx_deepseek.layers.streamed_experts import StreamedExperts
from mlx_deepseek.models.expert_memory import moe_layers
from mlx_deepseek.runtime.device import on_gpu
from mlx_deepseek.runtime.file_reader import Convert, FileReader, Part, PendingReads

EXPERTS = ".switch_mlp."
# Freed buffers that MLX keeps for the next ones: more would take memory that experts were given.
FREED_BYTES = 1 << 30
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


class SlotArray:
    """A stacked tensor of a file, of whose experts `capacity` are in memory, in `slots`."""

    def __init__(self, info: TensorInfo, capacity: int, dtype: mx.Dtype):
        self.info = info
        self.row_bytes = info.nbytes // info.shape[0]
        memory = mx.zeros((capacity, self.row_bytes * dtype.size // stored(info).size), mx.uint8)
        self.slots = memory.view(dtype).reshape(capacity, *info.shape[1:])
        mx.eval(memory, self.slots)
        self.memory = np.array(memory, copy=False)  # the array's own
        self.convert = None if dtype == stored(info) else conversion(stored(info), dtype)

    def part(self, expert: int, slot: int) -> Part:
        """Where an expert's values lie, and where they belong."""
        offset = self.info.start + expert * self.row_bytes
        return Part(self.info.file, offset, self.row_bytes, self.memory[slot], self.convert)


def stream_experts(model: nn.Module, folder: Path, capacities: Mapping[str, int]) -> None:
    """Give layers of a filled model slots for so many experts in place of all, by module path.

    Raises:
        CheckpointError: a file cannot be read.
        ConfigError: this device's memory cannot be written to.
    """
    if not capacities:
        return
    require_shared_memory()
    if on_gpu():
        mx.set_cache_limit(FREED_BYTES)
    infos = expert_tensors(folder)
    reader = FileReader({info.file for info in infos.values()})
    traffic = Traffic()
    for path, layer in moe_layers(model).items():
        if path in capacities:
            slots = _slots(layer, path, capacities[path], infos, reader, traffic)
            layer.switch_mlp = StreamedExperts(layer.switch_mlp, slots)


def _slots(
    layer: MoE,
    path: str,
    capacity: int,
    infos: Mapping[str, TensorInfo],
    reader: FileReader,
    traffic: Traffic,
) -> ExpertSlots:
    arrays: list[SlotArray] = []
    for projection in PROJECTIONS:
        module: Any = layer.switch_mlp[projection]
        for name, value in list(module.items()):
            info = infos.get(f"{path}.{projection}.{name}")
            if info is not None:
                arrays.append(SlotArray(info, capacity, value.dtype))
                module[name] = arrays[-1].slots
    count, nbytes = layer.gate.config.experts, sum(array.row_bytes for array in arrays)
    return ExpertSlots(count, capacity, nbytes, partial(_start, reader, arrays), traffic)


def _start(reader: FileReader, arrays: list[SlotArray], claimed: dict[int, int]) -> PendingReads:
    return reader.start(array.part(*pair) for array in arrays for pair in claimed.items())


def expert_tensors(folder: Path) -> dict[str, TensorInfo]:
    """The stacked tensors of routed experts, by their names here.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    return {name: info for name, info in named_tensors(folder).items() if EXPERTS in name}


def named_tensors(folder: Path) -> dict[str, TensorInfo]:
    """A checkpoint's tensors by their names here; a later file's, if two have one.

    Raises:
        CheckpointError: files are missing or damaged.
    """
    found: dict[str, TensorInfo] = {}
    for file in weight_files(folder):
        found |= renamed(file_header(file)[0])
    return found


def stored(info: TensorInfo) -> mx.Dtype:
    """What MLX reads a tensor as."""
    return DTYPES[info.dtype].mlx


def require_shared_memory() -> None:
    """Raise ConfigError unless MLX computes with what is written to an array's memory."""
    array = mx.zeros((2,), mx.uint8)
    mx.eval(array)
    np.array(array, copy=False)[1] = 7
    if (array + 0).tolist() != [0, 7]:
        raise ConfigError(
            "Experts cannot be read from disk into this device's memory. Expected Apple silicon "
            "or a CPU; leave `memory` out, or choose a model that fits."
        )


def conversion(source: mx.Dtype, target: mx.Dtype) -> Convert:
    """Writes floating values of one kind as another, rounded as MLX rounds."""
    read, write = READ.get(source), WRITE.get(target)
    if read is None or write is None:
        raise ConfigError(
            f"Experts stored as {source} cannot be computed with in {target}. Expected floating "
            "values of 16 or 32 bits; leave `dtype` out."
        )
    return lambda values, memory: write(read(values), memory)


def _write_bfloat16(values: np.ndarray, memory: np.ndarray) -> None:
    bits = values.view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # ties to even
    memory.view(np.uint16)[:] = np.where(np.isnan(values), 0x7FC0, nearest)


def _write_as(dtype: type, values: np.ndarray, memory: np.ndarray) -> None:
    with np.errstate(over="ignore"):  # what is too large becomes infinite
        memory.view(dtype)[:] = values


# From bytes to float32, and from float32 to bytes.
READ: Mapping[mx.Dtype, Callable[[np.ndarray], np.ndarray]] = {
    mx.bfloat16: lambda stored: (stored.view(np.uint16).astype(np.uint32) << 16).view(np.float32),
    mx.float16: lambda stored: stored.view(np.float16).astype(np.float32),
    mx.float32: lambda stored: stored.view(np.float32),
}
WRITE: Mapping[mx.Dtype, Convert] = {
    mx.bfloat16: _write_bfloat16,
    mx.float16: partial(_write_as, np.float16),
    mx.float32: partial(_write_as, np.float32),
}
