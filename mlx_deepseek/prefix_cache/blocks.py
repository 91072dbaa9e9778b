"""Blocks of a prompt cache: named by all tokens up to their end, cut from layers, joined again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import ChunkedKVCache, RotatingKVCache

BLOCK = 256  # tokens
NAME_BYTES = 32
AXIS = -2  # of the tokens, in every array

# Caches that forget tokens or move them: their rows are not those of tokens 0, 1, 2...
WINDOWED = (RotatingKVCache, ChunkedKVCache)

DTYPES = {
    "BF16": mx.bfloat16,
    "F16": mx.float16,
    "F32": mx.float32,
    "U8": mx.uint8,
    "I8": mx.int8,
    "U16": mx.uint16,
    "I16": mx.int16,
    "U32": mx.uint32,
    "I32": mx.int32,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Layout:
    """What a model's blocks are made of: the layers' classes, and each array's dtype and shape."""

    kinds: str
    arrays: Mapping[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class Block:
    """`BLOCK` tokens of every layer; an array's name is its place in the layers: `3.keys.0`."""

    layout: Layout
    arrays: Mapping[str, mx.array]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def root(key: str) -> bytes:
    """The parent of every first block."""
    return blake2b(key.encode(), digest_size=NAME_BYTES).digest()


def chain(key: str, ids: Sequence[int]) -> list[str]:
    """Names of the complete blocks of `ids`; each depends on `key` and on all tokens before."""
    names, parent = [], root(key)
    tokens = np.asarray(ids, "<i8")  # slots of pictures are numbers of 8 bytes
    for end in range(BLOCK, len(tokens) + 1, BLOCK):
        content = parent + tokens[end - BLOCK : end].tobytes()
        parent = blake2b(content, digest_size=NAME_BYTES).digest()
        names.append(parent.hex())
    return names


def kinds(layers: Sequence[Any]) -> str:
    """The layers' classes; empty if one is not known to keep one row per token."""
    for layer in layers:
        rows = hasattr(layer, "keys") and hasattr(layer, "values")
        # A batch's offset is an array.
        if not rows or type(getattr(layer, "offset", None)) is not int:
            return ""
        if isinstance(layer, WINDOWED):
            return ""
    return ",".join(type(layer).__name__ for layer in layers)


def filled(layers: Sequence[Any]) -> int:
    """Tokens that every layer holds; 0 if one holds them in a way that blocks cannot."""
    if not kinds(layers):
        return 0
    tokens = min(layer.offset for layer in layers)
    whole = all(
        isinstance(array, mx.array)
        and array.ndim == 4
        and array.shape[0] == 1
        and array.shape[AXIS] >= tokens
        and array.dtype in DTYPE_NAMES
        for array in _arrays(layers).values()
    )
    return tokens if whole else 0


def layout(layers: Sequence[Any]) -> Layout:
    """What blocks cut from `layers` are made of."""
    return Layout(
        kinds(layers),
        {
            name: (DTYPE_NAMES[array.dtype], (*array.shape[:AXIS], BLOCK, array.shape[-1]))
            for name, array in _arrays(layers).items()
        },
    )


def cut(layers: Sequence[Any], index: int) -> Block:
    """Block number `index` of `layers`, as copies that leave the layers' buffers free to go."""
    tokens = slice(index * BLOCK, (index + 1) * BLOCK)
    arrays = {name: mx.contiguous(array[..., tokens, :]) for name, array in _arrays(layers).items()}
    mx.eval(arrays)
    return Block(layout(layers), arrays)


def join(blocks: Sequence[Block], layers: Sequence[Any]) -> None:
    """Fill empty `layers` with consecutive blocks; sequences of arrays come back as lists."""
    arrays = {
        name: mx.concatenate([block.arrays[name] for block in blocks], axis=AXIS)
        for name in blocks[0].arrays
    }
    mx.eval(arrays)
    for layer, held in zip(layers, tree_unflatten(arrays), strict=True):
        layer.keys, layer.values = held["keys"], held["values"]
        layer.offset = len(blocks) * BLOCK


def _arrays(layers: Sequence[Any]) -> dict[str, mx.array]:
    return dict(tree_flatten([{"keys": a.keys, "values": a.values} for a in layers]))  # type: ignore[arg-type]
