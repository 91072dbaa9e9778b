"""Stored tensors joined to what the weight map sees: FP8 or packed weights with their scales."""

from collections.abc import Iterable, Mapping
from typing import Any

from mlx_deepseek.checkpoint.safetensors_header import TensorInfo
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek_convert.source.formats import FIXED, TENSOR_SCALE, Setting, Shape
from mlx_deepseek_convert.source.tensors import READABLE, Packed, Tensor

# How the scales of a weight are called: X.weight_scale_inv in V3, X.scale in V4.
SCALES = (("weight", "weight_scale_inv"), ("weight", "scale"))
FP8, FP4 = "F8_E4M3", "I8"  # two numbers of 4 bits in each of the latter, the lower one first
BITS = (2, 3, 4, 5, 6, 8)


def pair_scales(
    infos: Iterable[TensorInfo], config: Mapping[str, Any], where: object
) -> dict[str, Tensor]:
    """Join every FP8 or FP4 weight with its scales.

    Raises:
        CheckpointError: a scale without such a weight, the reverse, or a grid of the wrong size.
    """
    by_name = {info.name: info for info in infos}
    block = _block_size(config, where)
    scales = {name: found for name in by_name if (found := _scales_of(name, by_name)) is not None}
    used = {scale.name for scale in scales.values()}
    tensors: dict[str, Tensor] = {}
    for name, info in by_name.items():
        if info.dtype in (FP8, FP4):
            tensors[name] = _scaled(info, scales.get(name), block)
        elif name not in used and name.endswith("weight_scale_inv"):
            raise CheckpointError(
                f"{info.file}: tensor {name!r} scales no F8_E4M3 tensor "
                f"{name.removesuffix('_scale_inv')!r}. A shard is missing or files are mixed up."
            )
        elif name not in used:
            tensors[name] = _plain(info)
    return tensors


def _scales_of(name: str, by_name: Mapping[str, TensorInfo]) -> TensorInfo | None:
    """The scales of the tensor `name`, if its dtype needs any."""
    if by_name[name].dtype not in (FP8, FP4):
        return None
    found = (by_name.get(name.removesuffix(own) + scale) for own, scale in SCALES)
    return next((scale for scale in found if scale is not None), None)


def _scaled(info: TensorInfo, scale: TensorInfo | None, block: tuple[int, int]) -> Tensor:
    """A weight with its scales: one for every block, or for every 32 numbers of a row, as MLX's."""
    if scale is None or len(info.shape) != 2:
        raise CheckpointError(
            f"{info.file}: {info.dtype} tensor {info.name!r} {list(info.shape)} lacks its scales "
            f"{info.name + '_scale_inv'!r}. Expected a matrix with both; download the missing "
            "shard."
        )
    mode = "mxfp4" if info.dtype == FP4 else "mxfp8"
    group, bits = FIXED[mode]
    rows, columns = info.shape[0], info.shape[1] * 8 // bits
    if scale.dtype == "F8_E8M0" and scale.shape == (rows, columns // group) and not columns % group:
        packed = info._replace(dtype="U32", shape=(rows, columns * bits // 32))
        return Packed(packed, extra=(scale,), setting=Setting(bits, group, mode), released=True)
    if info.dtype == FP4:
        raise CheckpointError(
            f"{scale.file}: tensor {scale.name!r} is {scale.dtype} {list(scale.shape)}. Expected "
            f"F8_E8M0 [{rows}, {columns // group}]: one scale per {group} of {columns} numbers of "
            "4 bits."
        )
    return Tensor(info, _checked_scale(info, scale, block), block)


def _checked_scale(info: TensorInfo, scale: TensorInfo, block: tuple[int, int]) -> TensorInfo:
    grid = tuple(-(-size // step) for size, step in zip(info.shape, block, strict=True))
    if scale.shape != grid or scale.dtype not in ("F32", "F8_E8M0"):
        raise CheckpointError(
            f"{scale.file}: tensor {scale.name!r} is {scale.dtype} {list(scale.shape)}. Expected "
            f"F32 or F8_E8M0 {list(grid)}: one scale per block of {block[0]} x {block[1]} of "
            f"{list(info.shape)}."
        )
    return scale


def _block_size(config: Mapping[str, Any], where: object) -> tuple[int, int]:
    settings = config.get("quantization_config") or {}
    method = settings.get("quant_method", "fp8") if isinstance(settings, dict) else settings
    if method != "fp8":
        raise CheckpointError(
            f"{where}: config.json says quantization_config.quant_method {method!r}. Expected an "
            "unquantized or an fp8 checkpoint; take the original release."
        )
    block = settings.get("weight_block_size") or [128, 128]
    valid = isinstance(block, list) and len(block) == 2
    if not valid or not all(type(size) is int and size > 0 for size in block):
        raise ConfigError(
            f"{where}: config.json has weight_block_size {block!r}. Expected [rows, columns]."
        )
    return block[0], block[1]


def _plain(info: TensorInfo) -> Tensor:
    if info.dtype not in READABLE:
        raise CheckpointError(
            f"{info.file}: tensor {info.name!r} is {info.dtype}. Expected one of "
            f"{', '.join(READABLE)}; take the original release."
        )
    return Tensor(info)


def pair_packed(
    infos: Iterable[TensorInfo], config: Mapping[str, Any], where: object
) -> dict[str, Tensor]:
    """Join every weight that MLX quantized with its scales (and biases).

    Raises:
        CheckpointError: packed values without scales, or of sizes that do not belong together.
        ConfigError: the config's `quantization` is not one.
    """
    by_name = {info.name: info for info in infos}
    tensors: dict[str, Tensor] = {}
    for name, info in by_name.items():
        path, _, kind = name.rpartition(".")
        packed = by_name.get(f"{path}.weight")
        if (
            kind in ("scales", "biases", TENSOR_SCALE)
            and packed is not None
            and packed.dtype == "U32"
        ):
            continue
        if info.dtype != "U32":
            tensors[name] = _plain(info)
            continue
        setting = _setting(config, path, where)
        kinds = ("scales", "biases") if setting.mode == "affine" else ("scales", TENSOR_SCALE)
        extra = tuple(by_name[f"{path}.{k}"] for k in kinds if f"{path}.{k}" in by_name)
        tensors[name] = _checked(Packed(info, extra=extra, setting=setting))
    return tensors


def _checked(tensor: Packed) -> Packed:
    info, setting = tensor.info, tensor.setting
    groups: Shape = ()
    if info.shape:
        groups = (*tensor.shape[:-1], tensor.shape[-1] // setting.group_size)
    whole = bool(info.shape) and info.shape[-1] * 32 % (setting.bits * setting.group_size) == 0
    expected: list[list[Shape]] = [[groups, groups]] if setting.mode == "affine" else [[groups]]
    if setting.has_tensor_scale(info.shape):  # early conversions have none
        expected.append([groups, info.shape[:1]])
    if not whole or [part.shape for part in tensor.extra] not in expected:
        raise CheckpointError(
            f"{info.file}: tensor {info.name!r} {list(info.shape)} and its scales do not fit "
            f"{setting.bits} bits in groups of {setting.group_size}, as config.json says. "
            "Download both again."
        )
    return tensor


def _setting(config: Mapping[str, Any], path: str, where: object) -> Setting:
    table = config.get("quantization")
    own = table.get(path, table) if isinstance(table, dict) else None
    own = table if own is True else own
    if isinstance(own, dict):
        bits, size, mode = own.get("bits", 0), own.get("group_size", 0), own.get("mode", "affine")
        if mode == "affine" and bits in BITS and size in (32, 64, 128):
            return Setting(bits, size)
        if isinstance(mode, str) and FIXED.get(mode) == (size, bits):
            return Setting(bits, size, mode)
    raise ConfigError(
        f"{where}: config.json has quantization {own!r} for {path!r}. Expected bits, group_size "
        "and mode as MLX writes them."
    )
