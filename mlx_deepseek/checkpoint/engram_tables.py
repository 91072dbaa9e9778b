"""Engram's tables stay on disk: a token needs a few dozen of hundreds of millions of rows.

V4.1-Flash's two tables are 203 GB, of which a token reads 12 KB (arXiv:2601.07372 §5: tables larger
than memory cost little, since what a prompt needs of them is known before it is computed).
"""

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from mlx_deepseek.checkpoint.files import file_header, weight_files
from mlx_deepseek.checkpoint.safetensors_header import DTYPES, TensorInfo
from mlx_deepseek.layers.engram import Engram
from mlx_deepseek.runtime.file_reader import FileReader, Part

TABLE = ".engram.embed."
BIAS = 127  # of exponents without a mantissa
GROUP = 32  # FP8 values that share one


class RowsOnDisk:
    """Rows of a table in a safetensors file, read when they are asked for.

    `scales` are there where the rows are FP8 in MLX's packing.
    """

    def __init__(self, rows: TensorInfo, scales: TensorInfo | None):
        self.dtype = DTYPES["U8" if scales is not None else rows.dtype].mlx
        self.rows, self.scales = rows, scales
        self.reader = FileReader({rows.file} | ({scales.file} if scales is not None else set()))

    def __call__(self, ids: mx.array) -> mx.array:
        """Rows [..., dim] of their numbers [...]; of FP8 in float32.

        Raises:
            CheckpointError: they cannot be read.
        """
        numbers, places = np.unique(np.array(ids).reshape(-1), return_inverse=True)
        tables = [self.rows] if self.scales is None else [self.rows, self.scales]
        read = [np.empty((len(numbers), row_bytes(info)), np.uint8) for info in tables]
        parts = [
            part(info, number, row)
            for info, memory in zip(tables, read, strict=True)
            for number, row in zip(numbers, memory, strict=True)
        ]
        self.reader.start(parts).wait()
        rows = mx.array(read[0][places]).view(self.dtype)
        if self.scales is not None:
            exponents = mx.array(read[1][places]).astype(mx.float32) - BIAS
            values = mx.unflatten(mx.from_fp8(rows, mx.float32), -1, (-1, GROUP))
            rows = (values * mx.power(2.0, exponents)[..., None]).flatten(-2)
        return rows.reshape(*ids.shape, -1)


def row_bytes(info: TensorInfo) -> int:
    """Bytes of one row of a stored matrix."""
    return info.nbytes // info.shape[0]


def part(info: TensorInfo, number: int, memory: np.ndarray) -> Part:
    """Where a row lies, and where it is to go."""
    return Part(info.file, info.start + int(number) * row_bytes(info), row_bytes(info), memory)


def keep_tables_on_disk(model: nn.Module, folder: Path) -> None:
    """Take the tables out of a model's Engrams, if it has any, before weights are read."""
    engrams = {path: module for path, module in model.named_modules() if isinstance(module, Engram)}
    if not engrams:
        return
    stored: dict[str, TensorInfo] = {}
    for file in weight_files(folder):
        stored |= {name: info for name, info in file_header(file)[0].items() if TABLE in name}
    for path, engram in engrams.items():
        rows = stored.get(f"{path}.embed.weight")
        if rows is not None:
            engram.embed = RowsOnDisk(rows, stored.get(f"{path}.embed.scales"))
