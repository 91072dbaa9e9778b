"""Quantized products on all cores of a CPU; without effect on Metal and CUDA.

MLX runs each CPU stream on one thread, so a quantized product uses one core of many. Here its
output rows are divided among streams, one per core. The numbers are the same; only the order of
work changes. Modules keep their parameters and names: a checkpoint cannot tell.
"""

import itertools
import os
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.models.mla import QuantizedMultiLinear
from mlx_lm.models.switch_layers import QuantizedSwitchLinear

# Below this many multiplications a product takes less time than waking a second thread.
PARALLEL_FROM_PRODUCTS = 100_000

# The largest scale of a group times the largest value: what a scale per expert is relative to.
NVFP4_RANGE = 448.0 * 6.0

Parts = list[slice]


def parallelise(model: nn.Module, cores: int | None = None) -> nn.Module:
    """Replace the quantized layers of `model` by ones that use `cores` threads (default: all)."""
    cores = cores or available_cores()
    streams = [mx.new_thread_local_stream(mx.cpu) for _ in range(cores - 1)]
    layers = [
        (path, parallel(module, streams))
        for path, module in model.named_modules()
        if type(module) in PARALLEL
        and (streams or getattr(module, "global_scale", None) is not None)
    ]
    model.update_modules(tree_unflatten(layers))
    return model


def parallel(module: nn.Module, streams: list) -> nn.Module:
    """The layer with the same arrays and settings, divided among streams."""
    kind: Any = PARALLEL[type(module)]
    layer = kind.__new__(kind)
    vars(layer).update(vars(module), _streams=streams)
    dict.update(layer, module)
    return layer


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def divide(streams: list, size: int, products: int) -> Parts:
    """Cut an axis of `size` into one part per stream and one for the caller; [] if not worth it."""
    parts = min(len(streams) + 1, size)
    if parts < 2 or products < PARALLEL_FROM_PRODUCTS:
        return []
    edges = [size * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def gather(streams: list, parts: Parts, compute: Callable, axis: int) -> mx.array:
    """compute(part) for each part, the first on the current stream, joined along `axis`."""
    outputs = [compute(parts[0])]
    for stream, part in zip(streams, parts[1:], strict=False):
        with mx.stream(stream):
            outputs.append(compute(part))
    return mx.concatenate(outputs, axis=axis)


def piece(array: mx.array | None, part: slice) -> mx.array | None:
    """Some rows of an optional array."""
    return None if array is None else array[part]


class ParallelLinear(nn.QuantizedLinear):
    """A quantized linear layer whose output channels are divided."""

    _streams: list

    def __call__(self, x: mx.array) -> mx.array:
        rows = self.weight.shape[0]
        parts = divide(self._streams, rows, x.size * rows)
        if not parts:
            return super().__call__(x)

        def compute(part: slice) -> mx.array:
            return mx.quantized_matmul(
                x,
                self.weight[part],
                scales=self.scales[part],
                biases=piece(self.get("biases"), part),
                transpose=True,
                group_size=self.group_size,
                bits=self.bits,
                mode=self.mode,
            )

        y = gather(self._streams, parts, compute, axis=-1)
        return y + self.bias if "bias" in self else y


class ParallelSwitchLinear(QuantizedSwitchLinear):
    """Quantized experts whose (token, expert) pairs are divided."""

    _streams: list

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        pairs = indices.shape[-1]  # axis -3 of x, which is 1 where all experts see one token
        parts = divide(self._streams, pairs, indices.size * x.shape[-1] * self.output_dims)
        if not parts:
            return self.product(x, indices, sorted_indices)

        def compute(part: slice) -> mx.array:
            rows = x if x.shape[-3] == 1 else x[..., part, :, :]
            return self.product(rows, indices[..., part], sorted_indices)

        return gather(self._streams, parts, compute, axis=-3)

    def product(self, x: mx.array, indices: mx.array, sorted_indices: bool) -> mx.array:
        """As the layer; a CPU's kernel has no scale per expert, so it comes after the product."""
        scale = self.global_scale
        if scale is None:
            return super().__call__(x, indices, sorted_indices)
        self.global_scale = None
        try:
            y = super().__call__(x, indices, sorted_indices)
        finally:
            self.global_scale = scale
        return y * (scale[indices] / NVFP4_RANGE).astype(y.dtype)[..., None, None]


class ParallelMultiLinear(QuantizedMultiLinear):
    """A quantized matrix per head whose heads are divided."""

    _streams: list

    def __call__(self, x: mx.array, transpose: bool = True) -> mx.array:
        heads, inner = self.weight.shape[0], x.shape[-1]
        products = heads * x.shape[-2] * inner * self.weight.shape[1]
        parts = divide(self._streams, heads, products)
        if not parts:
            return super().__call__(x, transpose)

        def compute(part: slice) -> mx.array:
            return mx.quantized_matmul(
                x if x.shape[-3] == 1 else x[..., part, :, :],
                self.weight[part],
                scales=self.scales[part],
                biases=piece(self.get("biases"), part),
                transpose=transpose,
                group_size=self.group_size,
                bits=self.bits,
                mode=self.mode,
            )

        return gather(self._streams, parts, compute, axis=-3)


PARALLEL: dict[type, type] = {
    nn.QuantizedLinear: ParallelLinear,
    QuantizedSwitchLinear: ParallelSwitchLinear,
    QuantizedMultiLinear: ParallelMultiLinear,
}
