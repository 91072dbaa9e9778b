"""A Hugging Face checkpoint folder: its tensors by name from headers alone, read one at a time."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.tensor_file import TensorInfo, read_header
from mlx_deepseek_convert import fp8

INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SCALE = "_scale_inv"
SHARD_NUMBER = re.compile(r"(.*)-(\d{5,})-of-(\d{5,})\.safetensors")

# How each dtype is read: as plain integers of its width, then viewed.
VIEWS = {
    "BF16": (np.uint16, mx.bfloat16),
    "F16": (np.uint16, mx.float16),
    "F32": (np.uint32, mx.float32),
    "F8_E4M3": (np.uint8, mx.uint8),
    "F8_E8M0": (np.uint8, mx.uint8),
}


@dataclass(frozen=True)
class Tensor:
    """A tensor as the weight map sees it: an FP8 weight and its scales are one."""

    info: TensorInfo
    scale: TensorInfo | None = None
    block: tuple[int, int] = (1, 1)

    @property
    def nbytes(self) -> int:
        """Bytes on disk, scales included."""
        return self.info.nbytes + (self.scale.nbytes if self.scale else 0)

    def read(self) -> mx.array:
        """The values in their own dtype; FP8 in float32."""
        if self.scale is None:
            return read_tensor(self.info)
        scale = read_tensor(self.scale)
        if self.scale.dtype == "F8_E8M0":
            scale = fp8.decode_ue8m0(scale)
        return fp8.dequantize(read_tensor(self.info), scale, self.block)


@dataclass(frozen=True)
class Source:
    """A checkpoint's config and tensors; `stored` counts tensors in the files, scales included."""

    folder: Path
    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    stored: int
    metadata: Mapping[str, str]


def open_source(folder: Path | str) -> Source:
    """Read a checkpoint's config, index and headers; no weights.

    Raises:
        CheckpointError: files are missing, damaged, unsafe or contradict each other.
        ConfigError: config.json is missing or no JSON object.
    """
    folder = Path(folder)
    config = read_config(folder)
    infos, metadata = _read_headers(folder)
    tensors = pair_scales(infos.values(), config, folder)
    return Source(folder, config, tensors, len(infos), metadata)


def is_mlx_layout(source: Source) -> bool:
    """Whether the names are those of converted checkpoints, or the weights quantized for MLX."""
    fused = (".switch_mlp.", ".embed_q.")
    return "quantization" in source.config or any(
        part in name for name in source.tensors for part in fused
    )


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder. Expected a checkpoint with config.json.")
    if not path.is_file():
        raise ConfigError(f"{path}: missing. Expected the config.json of the checkpoint.")
    config = _read_json(path, ConfigError)
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: not a JSON object. Download it again.")
    return config


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
            tensors[name] = Tensor(info)
    return tensors


def read_tensor(info: TensorInfo) -> mx.array:
    """One tensor's values; FP8 dtypes as their codes (uint8).

    Raises:
        CheckpointError: a dtype that no weight map reads, or the file has changed meanwhile.
    """
    if info.dtype not in VIEWS:
        raise CheckpointError(
            f"{info.file}: tensor {info.name!r} is {info.dtype}. Expected one of "
            f"{', '.join(VIEWS)}."
        )
    stored, dtype = VIEWS[info.dtype]
    count = info.nbytes // np.dtype(stored).itemsize
    # Read, not memory-mapped: mapped pages would count as our memory.
    values = np.fromfile(info.file, dtype=stored, count=count, offset=info.start)
    if values.size != count:
        raise CheckpointError(f"{info.file}: ends inside tensor {info.name!r}. Download it again.")
    return mx.array(values.reshape(info.shape)).view(dtype)


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


def _read_headers(folder: Path) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    index = _read_index(folder)
    files = sorted(set(index.values())) if index else _weight_files(folder)
    infos: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for name in files:
        path = folder / name
        if not path.is_file():
            first = next((tensor for tensor, file in index.items() if file == name), "?")
            raise CheckpointError(
                f"{path}: shard missing; it holds tensor {first!r}. Download it again."
            )
        header, notes = read_header(path)
        metadata |= notes
        for tensor, info in header.items():
            if tensor in infos and index.get(tensor) is None:
                raise CheckpointError(
                    f"{path}: tensor {tensor!r} is in {infos[tensor].file.name} too. Remove the "
                    "file that does not belong to the checkpoint."
                )
            if index.get(tensor, name) == name:
                infos[tensor] = info
    for tensor, name in index.items():
        if tensor not in infos:
            raise CheckpointError(
                f"{folder / name}: tensor {tensor!r} is not in the file that {INDEX} names. "
                "Download both again."
            )
    return infos, metadata


def _read_index(folder: Path) -> dict[str, str]:
    path = folder / INDEX
    if not path.is_file():
        return {}
    content = _read_json(path, CheckpointError)
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not table:
        raise CheckpointError(f"{path}: no weight_map. Expected tensor names and their files.")
    for tensor, name in table.items():
        inside = isinstance(name, str) and name and "\\" not in name and "\0" not in name
        parts = PurePosixPath(name) if inside else PurePosixPath("..")
        if parts.is_absolute() or ".." in parts.parts or parts.suffix != ".safetensors":
            raise CheckpointError(
                f"{path}: tensor {tensor!r} points to {name!r}. Expected a .safetensors file in "
                "the checkpoint's folder; the index may be malicious."
            )
    return table


def _weight_files(folder: Path) -> list[str]:
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    names = [name for name in names if name.startswith("model")] or names
    if not names:
        pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
        if pickles:
            raise CheckpointError(
                f"{folder / pickles[0]}: weights as Python pickles, which can run any code, are "
                "not read. Expected .safetensors files; download those, or save the model again "
                "with transformers' save_pretrained on a machine that trusts the file."
            )
        raise CheckpointError(f"{folder}: no weights. Expected .safetensors files.")
    present = {name: match for name in names if (match := SHARD_NUMBER.fullmatch(name))}
    for match in present.values():
        stem, number, total = match.groups()
        for shard in range(1, int(total) + 1) if len(total) < 8 else ():
            name = f"{stem}-{shard:0{len(number)}d}-of-{total}.safetensors"
            if name not in present:
                raise CheckpointError(f"{folder / name}: shard missing. Download it again.")
    return names


def _read_json(path: Path, error: type[CheckpointError] | type[ConfigError]) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as reason:
        raise error(f"{path}: not readable as JSON ({reason}). Download it again.") from reason
