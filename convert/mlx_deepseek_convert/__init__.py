"""Hugging Face checkpoints (BF16, FP8) to quantized MLX ones, streaming, by declared weight maps."""

from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx

from mlx_deepseek_convert.plan import Plan, make_plan, make_steps
from mlx_deepseek_convert.source import open_source

__all__ = ["Plan", "plan", "weights"]


def plan(source: str | Path, recipe: str = "4bit") -> Plan:
    return make_plan(open_source(source), recipe)


def weights(source: str | Path, dtype: mx.Dtype | str) -> Iterator[tuple[str, mx.array]]:
    if isinstance(dtype, str):
        dtype = getattr(mx, dtype)
    steps, _ = make_steps(open_source(source))
    for step in steps:
        slices: list[list[mx.array]] = [[] for _ in step.targets]
        for target, value in step.op.slices([tensor.read for tensor in step.sources]):
            slices[target].append(value.astype(dtype))
        for (name, _), parts in zip(step.targets, slices, strict=True):
            yield name, parts[0] if len(parts) == 1 else mx.concatenate(parts)
