"""Stored forms that need no rounding: codes that move from one format to another as they are.

DeepSeek-V3.1 scales blocks of e4m3 by powers of two. MLX's mxfp8 is e4m3 with a power of two per 32
values: the same codes, and each block's exponent for every group in it. Nothing is computed, so
nothing depends on how a device rounds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.mapping.validate import MappingStep
from mlx_deepseek_convert.planning.outputs import Output
from mlx_deepseek_convert.source.formats import FIXED, Setting
from mlx_deepseek_convert.source.tensors import Packed, Tensor

MODE = "mxfp8"
GROUP = FIXED[MODE][0]


def keeps_codes(step: MappingStep, outputs: Sequence[Output], config: Mapping[str, Any]) -> bool:
    """Whether a step's outputs can take its source's codes unchanged."""
    tensor = step.sources[0]
    if isinstance(tensor, Packed):
        stored = [len(list(output.tensors())) for output in outputs]
        same = all(output.setting == tensor.setting for output in outputs)
        return same and stored == [len(tensor.parts)]
    if tensor.scale is None or any(o.setting is None or o.setting.mode != MODE for o in outputs):
        return False
    # Transposed halves of a matrix take their groups along its rows.
    edges = (tensor.block[1],) if step.op.unit == 1 else (*tensor.block, step.op.unit)
    return has_power_scales(tensor, config) and not any(edge % GROUP for edge in edges)


def original_setting(tensor: Tensor, config: Mapping[str, Any]) -> Setting | None:
    """The setting that stores a source's codes unchanged; None: they are bfloat16, or become it."""
    if isinstance(tensor, Packed):
        return tensor.setting
    group, bits = FIXED[MODE]
    whole = has_power_scales(tensor, config) and tensor.block[1] % group == 0
    return Setting(bits, group, MODE) if whole and tensor.shape[-1] % group == 0 else None


def has_power_scales(tensor: Tensor, config: Mapping[str, Any]) -> bool:
    """Whether FP8 scales are powers of two: by their dtype, or because config.json says so."""
    settings = config.get("quantization_config") or {}
    return tensor.scale is not None and (
        tensor.scale.dtype == "F8_E8M0" or settings.get("scale_fmt") == "ue8m0"
    )


def move_codes(step: MappingStep, tensor: Tensor, raw: Sequence[np.ndarray]) -> list[mx.array]:
    """The stored form of some rows of a source, with the codes of the source.

    Raises:
        CheckpointError: a scale is no power of two, although config.json says so.
    """
    if isinstance(tensor, Packed):
        return [mx.array(data.reshape(p.shape)) for data, p in zip(raw, tensor.parts, strict=True)]
    codes = mx.array(raw[0].reshape(tensor.info.shape))
    exponents = mx.array(_exponents(tensor, raw[1]))
    rows, columns = codes.shape
    exponents = mx.repeat(mx.repeat(exponents, tensor.block[0], 0), tensor.block[1], 1)
    stored = []
    spread = step.op.apply([exponents[:rows, :columns]])
    for values, scales in zip(step.op.apply([codes]), spread, strict=True):
        stored += [mx.contiguous(values).view(mx.uint32), scales[..., ::GROUP]]
    return stored


def _exponents(tensor: Tensor, raw: np.ndarray) -> np.ndarray:
    scale = tensor.scale
    assert scale is not None
    if scale.dtype == "F8_E8M0":
        return raw.reshape(scale.shape)
    codes = (raw >> 23).astype(np.uint8)  # of positive powers of two: mantissa and sign are zero
    normal = (codes > 0) & (codes < 255)
    if not normal.all() or not np.array_equal(codes.astype(np.uint32) << 23, raw):
        raise CheckpointError(
            f"{scale.file}: tensor {scale.name!r} has scales that are no powers of two, where "
            "config.json says scale_fmt ue8m0. They do not belong together."
        )
    return codes.reshape(scale.shape)
