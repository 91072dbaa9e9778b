"""How far a conversion's weights are from the source's, class by class, beside what is usual.

A class of small weights that lost everything may hardly change the mean divergence of a short text.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import mlx.core as mx

from mlx_deepseek_convert.quality.layerwise import LayerwiseModel, get_submodule
from mlx_deepseek_convert.quality.tensor_classes import TensorClass, class_of
from mlx_deepseek_convert.source.formats import NVFP4_RANGE

# Root mean square errors of normally distributed weights, relative to their own.
USUAL: Mapping[tuple[str, int], float] = {
    ("affine", 2): 0.395,
    ("affine", 3): 0.186,
    ("affine", 4): 0.091,
    ("affine", 5): 0.045,
    ("affine", 6): 0.022,
    ("affine", 8): 0.007,
    ("mxfp4", 4): 0.117,
    ("mxfp8", 8): 0.027,
    ("nvfp4", 4): 0.095,
}
TOLERATED = 2.0  # times the usual; real weights have longer tails


def unusual_losses(source: LayerwiseModel, converted: LayerwiseModel) -> list[str]:
    """A sentence for each class of weights that lost more than its format usually loses.

    Raises:
        CheckpointError: a folder is damaged.
    """
    lost: Counter[tuple[TensorClass, str, int]] = Counter()
    whole: Counter[tuple[TensorClass, str, int]] = Counter()
    for part in dict.fromkeys((source.embedding, *source.layers, source.head)):
        with source.part(part) as original, converted.part(part) as stored:
            for path, module in stored.named_modules():
                name = f"{part}.{path}" if path else part
                member = class_of(name) if "scales" in module else None
                if member is None:
                    continue
                weight = (get_submodule(original, path) if path else original).weight.astype(
                    mx.float32
                )
                difference = dequantized(module) - weight
                key = (member, module.mode, module.bits)
                lost[key] += (difference**2).sum().item()
                whole[key] += (weight**2).sum().item()
    found = []
    for member, mode, bits in whole:
        key = (member, mode, bits)
        error, usual = (lost[key] / max(whole[key], 1e-300)) ** 0.5, USUAL.get((mode, bits))
        if usual is not None and not error <= TOLERATED * usual:
            found.append(
                f"{member}: {error:.1%} of the weights' size was lost; {bits}-bit {mode} usually "
                f"loses {usual:.1%}."
            )
    return found


def dequantized(module: Any) -> mx.array:
    """A quantized module's weights, in float32."""
    scales = [module.scales]
    if module.get("biases") is not None:
        scales = [module.scales.astype(mx.float32), module.biases.astype(mx.float32)]
    value = mx.dequantize(
        module.weight, *scales, group_size=module.group_size, bits=module.bits, mode=module.mode
    ).astype(mx.float32)
    whole = getattr(module, "global_scale", None)
    return value if whole is None else value * (whole / NVFP4_RANGE)[:, None, None]
