"""Work on many queries or heads in parts, one after the other: what each needs exists once.

MLX computes what is asked for in an order of its own and starts many parts at once, which would
make the memory of a prompt grow with the tokens before it.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map

from mlx_deepseek.runtime.device import on_gpu

# Numbers that one part may take; a GPU has enough to do only with more.
AT_A_TIME_GPU, AT_A_TIME_CPU = 1 << 25, 1 << 22

Result = TypeVar("Result")  # an array or a tuple of them


def map_chunks(compute: Callable[..., Result], arrays: Sequence[mx.array], each: int) -> Result:
    """compute(part, *arrays), with as much of axis 1 at a time as memory allows, joined.

    `part` is a slice of the axis, to which the arrays are cut; every index of it takes memory for
    `each` numbers.
    """
    at_a_time = AT_A_TIME_GPU if on_gpu() else AT_A_TIME_CPU
    length, step = arrays[0].shape[1], max(1, at_a_time // max(1, each))
    results: list[Result] = []
    for start in range(0, length, step):
        part = slice(start, min(start + step, length))
        chunk = [array[:, part] for array in arrays]
        if results:
            chunk = depends(results[-1], chunk)
        results.append(compute(part, *chunk))
    if len(results) == 1:
        return results[0]
    return tree_map(lambda *parts: mx.concatenate(list(parts), axis=1), *results)


def depends(done: object, arrays: list[mx.array]) -> list[mx.array]:
    """The arrays, which nobody can use before `done`, a tree of arrays, is computed."""
    flat: Any = tree_flatten(done)
    return mx.depends(arrays, [array for _, array in flat])
