"""FP8 and FP4 of a release beside what a conversion made of them, code by code."""

from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_deepseek_convert.planning.plan import Plan
from mlx_deepseek_convert.source.tensors import Packed, read_bytes


def checked_codes(plan: Plan, folder: Path) -> int:
    """Values of a plan that rounds nothing, after a look at each of them in the folder it made."""
    stored: dict[str, mx.array] = {}
    for path in folder.glob("*.safetensors"):
        stored |= mx.load(str(path))  # type: ignore[arg-type]
    checked = 0
    for jobs in plan.files.values():
        for job in jobs:
            tensors, (output, *_) = job.step.sources, job.outputs
            if output.setting is None:
                assert not any(t.info.dtype == "U32" for t in tensors)
                # A row that is not of whole groups of 32 cannot stay FP8 in MLX.
                assert tensors[0].info.dtype != "F8_E4M3" or output.shape[-1] % 32
                continue
            assert job.exact
            checked += output.shape[-1] * int(np.prod(output.shape[:-1]))
            value = np.array(stored[output.name].flatten().view(mx.uint8))
            place = 0
            for tensor in tensors:
                codes = read_bytes(tensor.parts[0]).view(np.uint8).ravel()
                assert np.array_equal(value[place : place + codes.size], codes), output.name
                place += codes.size
            assert place == value.size
            del value
            scales = np.array(stored[output.name.removesuffix("weight") + "scales"])
            scales = scales.reshape(-1, scales.shape[-1])
            if isinstance(tensors[0], Packed):
                wanted = np.concatenate([read_bytes(t.parts[1]).ravel() for t in tensors])
                assert np.array_equal(scales.ravel(), wanted), output.name
            else:
                grid = read_bytes(tensors[0].parts[1]).reshape(tensors[0].scale.shape)
                rows, columns = tensors[0].block
                spread = np.repeat(np.repeat(grid, rows, 0), columns // 32, 1)
                wanted = spread[: scales.shape[0], : scales.shape[1]]
                assert np.array_equal(scales, wanted), output.name
            stored.pop(output.name)
    return checked
