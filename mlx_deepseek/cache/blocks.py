"""Blocks of a prompt cache: named by all tokens up to their end, cut from layers, joined again."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import ChunkedKVCache, RotatingKVCache

from mlx_deepseek.checkpoint.safetensors_header import DTYPES, NAMES, build_header
from mlx_deepseek.errors import CheckpointError

BLOCK = 256  # tokens


NAME_BYTES = 32


AXIS = -2  # of the tokens, in every array


# Caches that forget tokens or move them: their rows are not those of tokens 0, 1, 2...
WINDOWED = (RotatingKVCache, ChunkedKVCache)


@dataclass(frozen=True)
class BlockLayout:
    """What a model's blocks are made of: the layers' classes, and each array's dtype and shape."""

    kinds: str
    arrays: Mapping[str, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True)
class CacheBlock:
    """`BLOCK` tokens of every layer; an array's name is its place in the layers: `3.keys.0`."""

    layout: BlockLayout
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
    """The layers' classes; empty if one is not known to keep a row for each token, or for some."""
    for layer in layers:
        rows = hasattr(layer, "stored") or (hasattr(layer, "keys") and hasattr(layer, "values"))
        # A batch's offset is an array.
        if not rows or type(getattr(layer, "offset", None)) is not int:
            return ""
        if isinstance(layer, WINDOWED) or BLOCK % ratio(layer):
            return ""
    return ",".join(type(layer).__name__ for layer in layers)


def ratio(layer: Any) -> int:
    """Tokens that a layer keeps one row for."""
    return getattr(layer, "ratio", 0) or 1


def filled(layers: Sequence[Any]) -> int:
    """Tokens that every layer holds; 0 if one holds them in a way that blocks cannot."""
    if not kinds(layers):
        return 0
    tokens = min(layer.offset for layer in layers)
    whole = all(
        isinstance(array, mx.array)
        and array.ndim == 4
        and array.shape[0] == 1
        and array.shape[AXIS] >= tokens // each
        and array.dtype in NAMES
        for array, each in _arrays(layers).values()
    )
    return tokens if whole else 0


def layout(layers: Sequence[Any]) -> BlockLayout:
    """What blocks cut from `layers` are made of."""
    return BlockLayout(
        kinds(layers),
        {
            name: (NAMES[array.dtype], (*array.shape[:AXIS], BLOCK // each, array.shape[-1]))
            for name, (array, each) in _arrays(layers).items()
        },
    )


def cut(layers: Sequence[Any], index: int) -> CacheBlock:
    """Block number `index` of `layers`, as copies that leave the layers' buffers free to go."""
    arrays = {}
    for name, (array, each) in _arrays(layers).items():
        rows = slice(index * BLOCK // each, (index + 1) * BLOCK // each)
        arrays[name] = mx.contiguous(array[..., rows, :])
    mx.eval(arrays)
    return CacheBlock(layout(layers), arrays)


def marks_of(layers: Sequence[Any]) -> list[Any]:
    """The layers that forget tokens: to go on from a place they need what they had there."""
    return [layer for layer in layers if hasattr(layer, "tail_at")]


def cut_tail(layers: Sequence[Any], tokens: int) -> CacheBlock | None:
    """What such layers need to go on after so many tokens; None if one has forgotten it."""
    arrays: dict[str, mx.array] = {}
    for number, layer in enumerate(marks_of(layers)):
        tail = layer.tail_at(tokens)
        if tail is None:
            return None
        arrays |= {f"{number}.{name}": rows for name, rows in tail.items()}
    mx.eval(arrays)
    shapes = {name: (NAMES[array.dtype], tuple(array.shape)) for name, array in arrays.items()}
    return CacheBlock(BlockLayout(kinds(layers), shapes), arrays)


def join(blocks: Sequence[CacheBlock], layers: Sequence[Any], tail: CacheBlock | None) -> None:
    """Fill empty `layers` with consecutive blocks; sequences of arrays come back as lists.

    `tail` is there where layers forget tokens.
    """
    arrays = {
        name: mx.concatenate([block.arrays[name] for block in blocks], axis=AXIS)
        for name in blocks[0].arrays
    }
    mx.eval(arrays)
    tokens = len(blocks) * BLOCK
    for number, layer in enumerate(layers):
        held = _part(arrays, number)
        layer.offset = tokens
        for name, value in held.items():
            setattr(layer, name, value)
    for number, layer in enumerate(marks_of(layers)):
        assert tail is not None, "layers that forget need a tail"
        layer.go_on(tokens, _part(tail.arrays, number))


def _part(arrays: Mapping[str, mx.array], number: int) -> dict[str, Any]:
    """Arrays of one layer, as a tree."""
    prefix = f"{number}."
    own = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
    return tree_unflatten(own) if own else {}  # type: ignore[return-value]


def _arrays(layers: Sequence[Any]) -> dict[str, tuple[mx.array, int]]:
    """Each array that holds rows, and for how many tokens a row of it stands."""
    found: dict[str, tuple[mx.array, int]] = {}
    for number, layer in enumerate(layers):
        stored = getattr(layer, "stored", None)
        rows = {"keys": layer.keys, "values": layer.values} if stored is None else stored
        for name, array in tree_flatten(rows):
            found[f"{number}.{name}"] = array, ratio(layer)  # type: ignore[assignment]
    return found


def tail_name(block: str) -> str:
    """The name of what layers that forget tokens need after a block."""
    return blake2b(f"{block} tail".encode(), digest_size=NAME_BYTES).hexdigest()


FORMAT = "mlx-deepseek prefix block 1"


Bytes = bytes | memoryview


def encode(block: CacheBlock, key: str, name: str) -> list[Bytes]:
    """The file's bytes: its header, then each array; arrays of width 0 are in the header only."""
    flat = [array.flatten().view(mx.uint8) for array in block.arrays.values() if array.size]
    parts = [memoryview(array) for array in flat]  # type: ignore[arg-type]
    return [_header(block.layout, key, name, parts), *parts]


def decode(path: Path, key: str, name: str) -> CacheBlock:
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
        arrays[array] = flat.view(DTYPES[dtype].mlx).reshape(shape)
        start = end
    mx.eval(arrays)
    return CacheBlock(layout, arrays)


def _claimed(content: memoryview) -> BlockLayout:
    """The layout that a file's header claims."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8 : 8 + length]))
    kinds = header.pop("__metadata__")["layers"]
    return BlockLayout(kinds, {name: (e["dtype"], tuple(e["shape"])) for name, e in header.items()})


def _header(layout: BlockLayout, key: str, name: str, parts: Sequence[Bytes]) -> bytes:
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
    return DTYPES[dtype].nbytes * math.prod(shape)
