"""How parameters are stored in MLX checkpoints: names, dtypes, shapes, values and config.json."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlx_deepseek.checkpoint.safetensors_header import DTYPES
from mlx_deepseek_convert.source.formats import TENSOR_SCALE, Setting, Shape

UNSIGNED = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}


@dataclass(frozen=True)
class Output:
    """A parameter of the model and how it will be stored; `setting` None: not quantized."""

    name: str
    shape: Shape
    dtype: str
    setting: Setting | None

    def tensors(self) -> Iterator[tuple[str, str, Shape]]:
        """Name, dtype and shape of each tensor that the file will hold for it."""
        if self.setting is None:
            yield self.name, self.dtype, self.shape
            return
        path = self.name.removesuffix(".weight")
        *rows, columns = self.shape
        setting = self.setting
        grid = (*rows, columns // setting.group_size)
        yield self.name, "U32", (*rows, columns * setting.bits // 32)
        if setting.mode == "affine":
            yield f"{path}.scales", self.dtype, grid
            yield f"{path}.biases", self.dtype, grid
        else:
            yield f"{path}.scales", "U8", grid
        if setting.has_tensor_scale(self.shape):
            yield f"{path}.{TENSOR_SCALE}", "F32", self.shape[:1]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return sum(DTYPES[dtype].nbytes * math.prod(shape) for _, dtype, shape in self.tensors())

    def store(self, value: mx.array) -> list[mx.array]:
        """The tensors' values for a slice of the parameter along its first axis."""
        dtype = DTYPES[self.dtype].mlx
        if self.setting is None:
            return [value.astype(dtype)]
        if self.setting.has_tensor_scale(self.shape):
            return quantize_matrices(value.reshape(-1, *self.shape[1:]), self.setting)
        if self.setting.mode == "affine":  # its scales take the weight's dtype
            return quantize_affine(value.astype(dtype), self.setting)
        return list(mx.quantize(value, **self.setting.as_config()))


# MLX's affine scales are at least 1e-7, which small weights would not survive: groups below the
# first numbers are stored as these powers of two times as much, by scales that are less.
ENLARGED = ((2.0**-14, 2.0**60), (2.0**-74, 2.0**120))


def quantize_affine(value: mx.array, setting: Setting) -> list[mx.array]:
    """Codes, scales and biases of weights [..., I] of any magnitude."""
    groups = mx.unflatten(value, -1, (-1, setting.group_size))
    largest, factor = mx.abs(groups).max(axis=-1), mx.array(1.0)
    for limit, enlarged in ENLARGED:
        factor = mx.where(largest < limit, enlarged, factor)
    factor = factor.astype(value.dtype)
    groups = (groups * factor[..., None]).flatten(-2)
    codes, scales, biases = mx.quantize(groups, **setting.as_config())
    return [codes, scales / factor, biases / factor]


def quantize_matrices(value: mx.array, setting: Setting) -> list[mx.array]:
    """Codes, scales [E, O, I / 16] and a scale per matrix [E], of weights [E, O, I]."""
    largest = mx.abs(value).max(axis=(-2, -1)).astype(mx.float32)
    largest = mx.where(largest == 0, 1.0, largest)
    made = [
        mx.quantize(matrix, **setting.as_config(), global_scale=scale)
        for matrix, scale in zip(value, largest, strict=True)
    ]
    return [mx.stack(list(parts)) for parts in zip(*made, strict=True)] + [largest]


def as_integers(value: mx.array) -> mx.array:
    """The same bits as flat unsigned integers in row order, as safetensors stores them."""
    return mx.contiguous(value.flatten()).view(UNSIGNED[value.itemsize])


def describe(output: Output) -> str:
    """How a parameter is stored, in words."""
    if output.setting is None:
        return output.dtype.lower()
    setting = output.setting
    return f"{setting.bits}-bit {setting.mode}, groups of {setting.group_size}"


def output_config(
    config: Mapping[str, Any], outputs: Iterable[Output], quantizable: Collection[str]
) -> dict[str, Any]:
    """config.json of the result: as the source's, with `quantization` the way mlx-lm reads it.

    The setting of most parameters is the default; module paths that differ are listed, with False
    for those of `quantizable` that stay unquantized.
    """
    result = {key: value for key, value in config.items() if key != "quantization_config"}
    result |= {key: "bfloat16" for key in ("dtype", "torch_dtype") if key in config}
    chosen: dict[str, Setting | None] = {}
    scaled: set[str] = set()
    sizes: Counter[Setting] = Counter()
    for output in outputs:
        path = output.name.removesuffix(".weight")
        if output.name.endswith(".weight") and path in quantizable:
            chosen[path] = output.setting
            if output.setting is not None and output.setting.has_tensor_scale(output.shape):
                scaled.add(path)
        if output.setting is not None:
            sizes[output.setting] += math.prod(output.shape)
    if not sizes:
        return result
    default = sizes.most_common(1)[0][0]
    quantization: dict[str, Any] = default.as_config()
    for path, setting in sorted(chosen.items()):
        if setting != default:
            quantization[path] = setting.as_config() if setting else False
            if path in scaled:  # by default mlx-lm sees it from the weights
                quantization[path] |= {TENSOR_SCALE: True}
    return {**result, "quantization": quantization, "quantization_config": quantization}
