"""The safetensors format: a JSON header that says where each tensor's bytes are.

https://huggingface.co/docs/safetensors: 8 bytes little-endian header length N, N bytes of JSON,
then the data; offsets in the header count from the end of the JSON.
"""

import json
import math
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from mlx_deepseek.errors import CheckpointError

# The safetensors library refuses longer headers too.
HEADER_LIMIT_BYTES = 100_000_000


class DType(NamedTuple):
    """Bytes per item, what MLX reads it as (8-bit floats as their codes), whether it is a float."""

    nbytes: int
    mlx: mx.Dtype
    is_float: bool = False


DTYPES = {
    "BOOL": DType(1, mx.bool_),
    "U8": DType(1, mx.uint8),
    "I8": DType(1, mx.int8),
    "F8_E4M3": DType(1, mx.uint8, True),
    "F8_E5M2": DType(1, mx.uint8, True),
    "F8_E8M0": DType(1, mx.uint8),  # exponents: scales, never weights
    "I16": DType(2, mx.int16),
    "U16": DType(2, mx.uint16),
    "F16": DType(2, mx.float16, True),
    "BF16": DType(2, mx.bfloat16, True),
    "I32": DType(4, mx.int32),
    "U32": DType(4, mx.uint32),
    "F32": DType(4, mx.float32, True),
    "I64": DType(8, mx.int64),
    "U64": DType(8, mx.uint64),
    "F64": DType(8, mx.float64, True),
}


# What MLX's dtypes are called in files.
NAMES = {dtype.mlx: name for name, dtype in DTYPES.items() if not name.startswith("F8")}


class TensorInfo(NamedTuple):
    """Where one tensor lies; `start` counts from the file's first byte."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


Header = tuple[dict[str, TensorInfo], dict[str, str]]  # tensors by name, metadata


def require_file(path: Path) -> int:
    """Bytes of a regular file; a pipe or a device would be waited for.

    Raises:
        CheckpointError: there is none.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from error
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path}: is no regular file. Expected a file with weights.")
    return status.st_size


def read_header(path: Path) -> Header:
    """Every tensor of one file and its metadata, without reading the data.

    Raises:
        CheckpointError: not a safetensors file, cut short, or its header contradicts itself.
    """
    size = require_file(path)
    try:
        with path.open("rb") as file:
            text = file.read(header_length(path, file.read(8), size))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from error
    return parse_header(path, text, size)


def header_length(path: Path, prefix: bytes, size: int) -> int:
    """Bytes of JSON after the first eight of a file of `size` bytes.

    Raises:
        CheckpointError: not a safetensors file, or cut short.
    """
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(size - 8, HEADER_LIMIT_BYTES):
        raise CheckpointError(
            f"{path}: the header claims {length} bytes in a file of {size}. Expected a "
            "safetensors file; it is damaged or cut short. Download it again."
        )
    return length


def parse_header(path: Path, text: bytes, size: int) -> Header:
    """As `read_header`, of the JSON `text` in a file of `size` bytes."""
    header = _parse(path, text)
    metadata = header.pop("__metadata__", None) or {}  # MLX writes null for none
    if not isinstance(metadata, dict):
        raise _damaged(path, "__metadata__", "its metadata is not an object")
    first = 8 + len(text)
    tensors = {name: _entry(path, name, entry, first) for name, entry in header.items()}
    _check_extents(path, tensors, size)
    return tensors, metadata


def build_header(
    entries: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> tuple[bytes, dict[str, int]]:
    """The first bytes of a file that holds `entries` (dtype, shape), and each tensor's start."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offsets, end = {}, 0
    for name, (dtype, shape) in entries.items():
        offsets[name] = end
        end += DTYPES[dtype].nbytes * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offsets[name], end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data starts aligned
    first = 8 + len(text)
    starts = {name: first + offset for name, offset in offsets.items()}
    return len(text).to_bytes(8, "little") + text, starts


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in names if names.count(name) > 1)
            raise _damaged(path, double, "it appears twice in the header")
        return table

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: the header is not JSON ({error}). Expected a safetensors file; it is "
            "damaged. Download it again."
        ) from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: the header is not a JSON object. Download the file again.")
    return header


def _entry(path: Path, name: str, entry: Any, first: int) -> TensorInfo:
    if not isinstance(entry, dict):
        raise _damaged(path, name, "its header entry is not an object")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _damaged(path, name, f"its dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    shape, offsets = _counts(entry.get("shape")), _counts(entry.get("data_offsets"))
    if shape is None:
        raise _damaged(path, name, f"its shape {entry.get('shape')!r} is not a list of sizes")
    if offsets is None or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _damaged(path, name, f"its data_offsets {entry.get('data_offsets')!r} are not a span")
    nbytes = offsets[1] - offsets[0]
    expected = DTYPES[dtype].nbytes * math.prod(shape)
    if nbytes != expected:
        raise _damaged(path, name, f"{dtype} {shape} takes {expected} bytes, it has {nbytes}")
    return TensorInfo(name, path, dtype, tuple(shape), first + offsets[0], nbytes)


def _counts(value: Any) -> list[int] | None:
    valid = isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
    return value if valid else None


def _check_extents(path: Path, tensors: Mapping[str, TensorInfo], size: int) -> None:
    previous: TensorInfo | None = None
    for info in sorted(tensors.values(), key=lambda info: (info.start, info.nbytes)):
        if info.start + info.nbytes > size:
            raise CheckpointError(
                f"{path}: tensor {info.name!r} ends at byte {info.start + info.nbytes}, the file "
                f"has {size}. The file is cut short; download it again."
            )
        if previous is not None and info.start < previous.start + previous.nbytes:
            raise _damaged(path, info.name, f"its bytes overlap those of {previous.name!r}")
        previous = info


def _damaged(path: Path, name: str, what: str) -> CheckpointError:
    return CheckpointError(f"{path}: tensor {name!r}: {what}. Download the file again.")
