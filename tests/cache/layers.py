"""Layers whose rows follow from the tokens, as latents do: each depends on all tokens before."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map
from mlx_lm.models.cache import KVCache, QuantizedKVCache

LAYERS = 2


class NestedCache:
    """A quantized cache: lists of packed parts as keys, plain values of width 0."""

    def __init__(self) -> None:
        self.keys: Any = None
        self.values: Any = None
        self.offset = 0


FORMS = {
    "latent": KVCache,  # keys [1, 1, S, W], values of width 0
    "bfloat16": KVCache,
    "heads": KVCache,  # keys and values [1, H, S, W]
    "tuples": QuantizedKVCache,
    "nested": NestedCache,
}


def prompt(seed: int, length: int) -> list[int]:
    """Some tokens."""
    return [(seed * 7919 + i * i) % 1000 for i in range(length)]


def fresh(form: str) -> list[Any]:
    """Empty layers."""
    return [FORMS[form]() for _ in range(LAYERS)]


def made(ids: Sequence[int], form: str = "latent", spare: int = 7) -> list[Any]:
    """Layers that hold `ids`, with room for `spare` tokens more, as buffers that grow have."""
    layers = fresh(form)
    for i, layer in enumerate(layers):
        layer.keys, layer.values = _rows(ids, form, i, spare)
        layer.offset = len(ids)
    return layers


def held(layers: Sequence[Any]) -> dict[str, np.ndarray]:
    """All rows that count, by their place."""
    rows = [
        tree_map(lambda a, end=layer.offset: a[..., :end, :], (layer.keys, layer.values))
        for layer in layers
    ]
    return {
        f"{name} {array.dtype}": np.array(array.astype(mx.float32))
        for name, array in dict(tree_flatten(rows)).items()
    }


def same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    """Whether two models' layers hold the same rows of the same types."""
    first, second = held(a), held(b)
    return first.keys() == second.keys() and all(
        first[name].shape == second[name].shape and (first[name] == second[name]).all()
        for name in first
    )


def _rows(ids: Sequence[int], form: str, layer: int, spare: int) -> tuple[Any, Any]:
    past = np.cumsum(np.asarray(ids, np.int64) * 31 + 7) % 251
    past = np.concatenate([past, np.full(spare, 255)])  # what must never be stored

    def array(heads: int, width: int, dtype: mx.Dtype) -> mx.array:
        grid = past[:, None] + np.arange(width) + layer
        return mx.array(np.broadcast_to(grid, (1, heads, *grid.shape))).astype(dtype)

    match form:
        case "latent":
            return array(1, 3, mx.float32), array(1, 0, mx.float32)
        case "bfloat16":
            return array(1, 3, mx.bfloat16), array(1, 1, mx.bfloat16)
        case "heads":
            return array(2, 2, mx.float16), array(2, 3, mx.float16)
        case "tuples":
            packed = (array(1, 2, mx.uint32), array(1, 1, mx.float32), array(1, 1, mx.float32))
            return packed, packed
    parts = [[array(1, 2, mx.uint32), array(1, 1, mx.bfloat16)], [array(1, 3, mx.uint8)]]
    return parts, array(1, 0, mx.bfloat16)
