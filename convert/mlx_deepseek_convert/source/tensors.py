"""Tensors of a source as the weight map sees them, and any rows of them on their own.

What is stored (`parts`) and what it means (`decode`) are apart, so that one thread can read bytes
while another computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_deepseek.checkpoint.safetensors_header import DTYPES, TensorInfo
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.source import fp8
from mlx_deepseek_convert.source.formats import NVFP4_RANGE, Setting, Shape

# U8 and U32 hold quantized weights, which are never read as they are.
READABLE = ("BF16", "F16", "F32", "F8_E4M3", "I32", "I64")


@dataclass(frozen=True)
class Tensor:
    """Values stored as they are, or FP8 codes with one scale per block."""

    info: TensorInfo
    scale: TensorInfo | None = None
    block: tuple[int, int] = (1, 1)

    @property
    def shape(self) -> Shape:
        """Of the values."""
        return self.info.shape

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Everything stored that the values come from."""
        return (self.info,) if self.scale is None else (self.info, self.scale)

    @property
    def nbytes(self) -> int:
        """Bytes on disk, scales included."""
        return sum(part.nbytes for part in self.parts)

    @property
    def unit(self) -> int:
        """Rows that must stay together."""
        return self.block[0]

    def rows(self, start: int, stop: int) -> "Tensor":
        """Some rows of the tensor."""
        if self.scale is None:
            return Tensor(narrow(self.info, start, stop))
        size = self.block[0]
        scale = narrow(self.scale, start // size, -(-stop // size))
        return Tensor(narrow(self.info, start, stop), scale, self.block)

    def item(self, index: int) -> "Tensor":
        """One row as a tensor without the first axis; not of FP8."""
        return Tensor(_first(narrow(self.info, index, index + 1)))

    def decode(self, stored: Sequence[mx.array]) -> mx.array:
        """The values in their own dtype; FP8 in float32, numbers of 64 bits in 32."""
        if self.scale is None:
            return stored[0].astype(mx.int32) if self.info.dtype == "I64" else stored[0]
        codes, scale = stored
        if self.scale.dtype == "F8_E8M0":
            scale = fp8.decode_ue8m0(scale)
        return fp8.dequantize(codes, scale, self.block)

    def read(self) -> mx.array:
        """All values, read here and now."""
        return self.decode([as_array(part, read_bytes(part)) for part in self.parts])


@dataclass(frozen=True)
class Packed(Tensor):
    """A weight that MLX quantized: `info` is packed, `extra` its scales (and biases).

    Or one that a release stores in the same bytes: `released`.
    """

    extra: tuple[TensorInfo, ...] = ()
    setting: Setting = field(default_factory=lambda: Setting(4))
    released: bool = False

    @property
    def shape(self) -> Shape:
        """Of the values."""
        *rows, columns = self.info.shape
        return (*rows, columns * 32 // self.setting.bits)

    @property
    def parts(self) -> tuple[TensorInfo, ...]:
        """Packed values, scales, biases."""
        return (self.info, *self.extra)

    def rows(self, start: int, stop: int) -> "Packed":
        """Some rows of the tensor."""
        extra = tuple(narrow(p, start, stop) if p.shape else p for p in self.extra)
        return replace(self, info=narrow(self.info, start, stop), extra=extra)

    def item(self, index: int) -> "Packed":
        """One row as a tensor without the first axis."""
        row = self.rows(index, index + 1)
        extra = tuple(_first(part) for part in row.extra)
        return replace(row, info=_first(row.info), extra=extra)

    def decode(self, stored: Sequence[mx.array]) -> mx.array:
        """The values in float32."""
        packed, *scales = stored
        if self.setting.mode == "affine":  # computes in the scales' dtype
            scales = [scale.astype(mx.float32) for scale in scales]
            return mx.dequantize(packed, *scales, **self.setting.as_config())
        scale, *whole = scales
        values = mx.dequantize(packed, scale, **self.setting.as_config(), dtype=mx.float32)
        return values * (whole[0] / NVFP4_RANGE)[..., None, None] if whole else values


def narrow(info: TensorInfo, start: int, stop: int) -> TensorInfo:
    """Rows `start` to `stop` of a stored tensor; a scalar is one row."""
    rows, *rest = info.shape or (1,)
    shape = (stop - start, *rest) if info.shape else ()
    row_bytes = info.nbytes // max(rows, 1)
    return info._replace(
        shape=shape, start=info.start + start * row_bytes, nbytes=(stop - start) * row_bytes
    )


def _first(info: TensorInfo) -> TensorInfo:
    return info._replace(shape=info.shape[1:])


def read_bytes(info: TensorInfo, path: Path | None = None) -> np.ndarray:
    """A stored tensor's bytes as integers of its width; from `path`, where the file lies elsewhere.

    Raises:
        CheckpointError: the file cannot be read, or ends too early.
    """
    # Read, not memory-mapped: mapped pages would count as our memory.
    dtype = np.dtype(f"u{DTYPES[info.dtype].nbytes}")
    try:
        values = np.fromfile(
            path or info.file, dtype, info.nbytes // dtype.itemsize, offset=info.start
        )
    except OSError as error:
        raise CheckpointError(
            f"{info.file}: cannot be read ({error.strerror}). Make it readable, and convert again."
        ) from error
    if values.nbytes != info.nbytes:
        raise CheckpointError(f"{info.file}: ends inside tensor {info.name!r}. Download it again.")
    return values


def as_array(info: TensorInfo, values: np.ndarray) -> mx.array:
    """What `read_bytes` gave, in the tensor's shape and dtype; FP8 dtypes as their codes."""
    return mx.array(values.reshape(info.shape)).view(DTYPES[info.dtype].mlx)
