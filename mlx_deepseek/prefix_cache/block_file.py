"""A block as a safetensors file that is valid only if it is, byte for byte, what we would write."""

import json
import math
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.prefix_cache.blocks import BLOCK, DTYPES, Block, Layout
from mlx_deepseek.tensor_file import ITEM_BYTES, build_header

FORMAT = "mlx-deepseek prefix block 1"

Bytes = bytes | memoryview


def encode(block: Block, key: str, name: str) -> list[Bytes]:
    """The file's bytes: its header, then each array; arrays of width 0 are in the header only."""
    flat = [array.flatten().view(mx.uint8) for array in block.arrays.values() if array.size]
    parts = [memoryview(array) for array in flat]  # type: ignore[arg-type]
    return [_header(block.layout, key, name, parts), *parts]


def decode(path: Path, key: str, name: str) -> Block:
    """The block `name` of the store `key`.

    Raises:
        CheckpointError: damaged, or another block's, store's or version's file.
        OSError: cannot be read.
    """
    # Opened once: another process may put another file in its place at any moment.
    content = memoryview(path.read_bytes())
    try:
        layout = _claimed(content)
        start = len(content) - sum(_nbytes(*info) for info in layout.arrays.values())
        if content[:start] != _header(layout, key, name, [content[start:]]):
            raise ValueError("its header or its digest differs")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: damaged, or not the block of its name ({error}). Delete it."
        ) from error
    arrays = {}
    for array, (dtype, shape) in layout.arrays.items():
        end = start + _nbytes(dtype, shape)
        flat = mx.array(np.frombuffer(content[start:end], np.uint8))
        arrays[array] = flat.view(DTYPES[dtype]).reshape(shape)
        start = end
    mx.eval(arrays)
    return Block(layout, arrays)


def _claimed(content: memoryview) -> Layout:
    """The layout that a file's header claims."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8 : 8 + length]))
    kinds = header.pop("__metadata__")["layers"]
    return Layout(kinds, {name: (e["dtype"], tuple(e["shape"])) for name, e in header.items()})


def _header(layout: Layout, key: str, name: str, parts: Sequence[Bytes]) -> bytes:
    """The header of a file with `parts` after it; its digest covers both."""
    metadata = {
        "format": FORMAT,
        "key": key,
        "block": name,
        "tokens": str(BLOCK),
        "layers": layout.kinds,
        "digest": "",
    }
    digest = blake2b(build_header(layout.arrays, metadata)[0])
    for part in parts:
        digest.update(part)
    return build_header(layout.arrays, metadata | {"digest": digest.hexdigest()})[0]


def _nbytes(dtype: str, shape: tuple[int, ...]) -> int:
    return ITEM_BYTES[dtype] * math.prod(shape)
