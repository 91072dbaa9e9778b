"""Quantized products on all cores of a CPU; without effect on Metal and CUDA.

MLX runs each CPU stream on one thread, so a quantized product uses one core of many. Here its
output rows are divided among streams, one per core. The numbers are the same; only the order of
work changes. Modules keep their parameters and names: a checkpoint cannot tell.
"""

import itertools
import os
from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.models.mla import QuantizedMultiLinear
from mlx_lm.models.switch_layers import QuantizedSwitchLinear

# Below this many multiplications a product takes less time than waking a second thread.
SPREAD_FROM_PRODUCTS = 100_000

Parts = list[slice]


def spread(model: nn.Module, cores: int | None = None) -> nn.Module:
    """Let the quantized layers of `model`, changed in place, use `cores` threads (default: all)."""
    cores = cores or available_cores()
    if cores > 1:
        streams = [mx.new_thread_local_stream(mx.cpu) for _ in range(cores - 1)]
        for _, module in model.named_modules():
            if type(module) in SPREAD:
                module.__class__ = SPREAD[type(module)]
                module._streams = streams
    return model


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def divide(streams: list, size: int, products: int) -> Parts:
    """Cut an axis of `size` into one part per stream and one for the caller; [] if not worth it."""
    parts = min(len(streams) + 1, size)
    if parts < 2 or products < SPREAD_FROM_PRODUCTS:
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


class SpreadLinear(nn.QuantizedLinear):
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


class SpreadSwitchLinear(QuantizedSwitchLinear):
    """Quantized experts whose (token, expert) pairs are divided."""

    _streams: list

    def __call__(self, x: mx.array, indices: mx.array, sorted_indices: bool = False) -> mx.array:
        pairs = indices.shape[-1]  # axis -3 of x, which is 1 where all experts see one token
        parts = divide(self._streams, pairs, indices.size * x.shape[-1] * self.output_dims)
        if not parts:
            return super().__call__(x, indices, sorted_indices)

        def compute(part: slice) -> mx.array:
            rows = x if x.shape[-3] == 1 else x[..., part, :, :]
            whole = super(SpreadSwitchLinear, self).__call__
            return whole(rows, indices[..., part], sorted_indices)

        return gather(self._streams, parts, compute, axis=-3)


class SpreadMultiLinear(QuantizedMultiLinear):
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


SPREAD: dict[type, type] = {
    nn.QuantizedLinear: SpreadLinear,
    QuantizedSwitchLinear: SpreadSwitchLinear,
    QuantizedMultiLinear: SpreadMultiLinear,
}
