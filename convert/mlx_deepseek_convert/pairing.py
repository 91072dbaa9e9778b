"""Stored tensors joined to what the weight map sees: FP8 or packed weights with their scales."""

from collections.abc import Iterable, Mapping
from typing import Any

from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.tensor_file import TensorInfo
from mlx_deepseek_convert.recipes import FIXED, Setting
from mlx_deepseek_convert.tensors import READABLE, Packed, Tensor

SCALE = "_scale_inv"
BITS = (2, 3, 4, 5, 6, 8)


def pair_scales(
    infos: Iterable[TensorInfo], config: Mapping[str, Any], where: object
) -> dict[str, Tensor]:
    """Join every FP8 weight with its `weight_scale_inv`.

    Raises:
        CheckpointError: a scale without FP8 weight, the reverse, or a grid of the wrong size.
    """
    by_name = {info.name: info for info in infos}
    block = _block_size(config, where)
    tensors = {}
    for name, info in by_name.items():
        if name.endswith(SCALE):
            weight = by_name.get(name.removesuffix(SCALE))
            if weight is None or weight.dtype != "F8_E4M3":
                raise CheckpointError(
                    f"{info.file}: tensor {name!r} scales no F8_E4M3 tensor "
                    f"{name.removesuffix(SCALE)!r}. A shard is missing or files are mixed up."
                )
        elif info.dtype == "F8_E4M3":
            tensors[name] = Tensor(info, _scale_of(info, by_name, block), block)
        else:
            tensors[name] = _plain(info)
    return tensors


def _scale_of(
    info: TensorInfo, by_name: Mapping[str, TensorInfo], block: tuple[int, int]
) -> TensorInfo:
    scale = by_name.get(info.name + SCALE)
    if scale is None or len(info.shape) != 2:
        raise CheckpointError(
            f"{info.file}: F8_E4M3 tensor {info.name!r} {list(info.shape)} lacks its scales "
            f"{info.name + SCALE!r}. Expected a matrix with both; download the missing shard."
        )
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
        if kind in ("scales", "biases") and packed is not None and packed.dtype == "U32":
            continue
        if info.dtype != "U32":
            tensors[name] = _plain(info)
            continue
        setting = _setting(config, path, where)
        kinds = ("scales", "biases") if setting.mode == "affine" else ("scales",)
        extra = tuple(by_name[f"{path}.{k}"] for k in kinds if f"{path}.{k}" in by_name)
        tensors[name] = _checked(Packed(info, extra=extra, setting=setting), len(kinds))
    return tensors


def _checked(tensor: Packed, expected: int) -> Packed:
    info, setting = tensor.info, tensor.setting
    groups = (*tensor.shape[:-1], tensor.shape[-1] // setting.group_size) if info.shape else ()
    whole = bool(info.shape) and info.shape[-1] * 32 % (setting.bits * setting.group_size) == 0
    if not whole or [part.shape for part in tensor.extra] != [groups] * expected:
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
