"""A product with a part of a layer's matrix, plain or quantized, without a copy of it."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx


def product(
    module: Any, x: mx.array, part: Callable[[str], mx.array], *, transpose: bool
) -> mx.array:
    """x times a part of a module's matrix, plain or quantized; `part` cuts it from an array."""
    weight = part("weight")
    if "scales" not in module:
        return x @ (weight.swapaxes(-1, -2) if transpose else weight)
    return mx.quantized_matmul(
        x,
        weight,
        scales=part("scales"),
        biases=part("biases") if module.get("biases") is not None else None,
        transpose=transpose,
        group_size=module.group_size,
        bits=module.bits,
        mode=module.mode,
    )
