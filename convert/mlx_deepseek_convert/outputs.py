"""How parameters are stored in MLX checkpoints: names, dtypes, shapes, values and config.json."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlx_deepseek.tensor_file import ITEM_BYTES
from mlx_deepseek_convert.ops import Shape
from mlx_deepseek_convert.recipes import Setting

DTYPES = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32}
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

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return sum(ITEM_BYTES[dtype] * math.prod(shape) for _, dtype, shape in self.tensors())

    def store(self, value: mx.array) -> list[mx.array]:
        """The tensors' values for a slice of the parameter along its first axis."""
        dtype = DTYPES[self.dtype]
        if self.setting is None:
            return [value.astype(dtype)]
        setting = self.setting
        if setting.mode == "affine":  # its scales take the weight's dtype
            value = value.astype(dtype)
        return list(
            mx.quantize(value, group_size=setting.group_size, bits=setting.bits, mode=setting.mode)
        )


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
    sizes: Counter[Setting] = Counter()
    for output in outputs:
        path = output.name.removesuffix(".weight")
        if output.name.endswith(".weight") and path in quantizable:
            chosen[path] = output.setting
        if output.setting is not None:
            sizes[output.setting] += math.prod(output.shape)
    if not sizes:
        return result
    default = sizes.most_common(1)[0][0]
    quantization: dict[str, Any] = default.as_config()
    for path, setting in sorted(chosen.items()):
        if setting != default:
            quantization[path] = setting.as_config() if setting else False
    return {**result, "quantization": quantization, "quantization_config": quantization}
