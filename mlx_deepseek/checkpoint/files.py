"""Which files of a checkpoint hold weights, found and checked once for library and converter."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mlx_deepseek.checkpoint import torch_pickle
from mlx_deepseek.checkpoint.safetensors_header import Header, TensorInfo, read_header
from mlx_deepseek.errors import CheckpointError, ConfigError

INDEX = "model.safetensors.index.json"
MTP_FILE = "mtp.safetensors"
SHARD = re.compile(r"(.*)-(\d{5,})-of-(\d{5,})(\.\w+)")
# Of a folder without an index the files with the first of these names are the checkpoint's; the
# second is what diffusers calls a model.
PREFIXES = ("model", "diffusion_pytorch_model", "")
# Releases of 2023: read where there is no safetensors file, by torch_pickle.py.
PICKLES, PICKLE_INDEX = "pytorch_model*.bin", "pytorch_model.bin.index.json"


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, with the stop tokens of generation_config.json, which are more complete.

    Raises:
        CheckpointError: no such folder.
        ConfigError: config.json is missing or damaged.
    """
    config = released_config(folder)
    if (folder / "generation_config.json").is_file():
        stops = read_json(folder / "generation_config.json").get("eos_token_id")
        config |= {} if stops is None else {"eos_token_id": stops}
    return config


def released_config(folder: Path) -> dict[str, Any]:
    """config.json as it is.

    Raises:
        CheckpointError, ConfigError: as `read_config`.
    """
    require_folder(folder)
    return read_json(folder / "config.json")


def require_folder(folder: Path) -> None:
    """Raise CheckpointError, saying what is there instead, unless `folder` is one."""
    if folder.is_dir():
        return
    if folder.exists():
        raise CheckpointError(f"{folder}: is a file. Expected its folder, {folder.parent}.")
    raise CheckpointError(f"{folder}: no such folder. Expected a checkpoint with config.json.")


def read_json(
    path: Path, error: type[CheckpointError] | type[ConfigError] = ConfigError
) -> dict[str, Any]:
    """A JSON object.

    Raises:
        `error`: the file is missing or holds something else.
    """
    if not path.is_file():
        what = "is no regular file" if path.exists() else "missing"
        raise error(f"{path}: {what}. Expected a checkpoint's {path.name}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as reason:
        raise error(f"{path}: not readable as JSON ({reason}). Download it again.") from reason
    if not isinstance(content, dict):
        raise error(f"{path}: not a JSON object. Download it again.")
    return content


def weight_files(folder: Path) -> list[Path]:
    """The files with weights: those of the index, else model*.safetensors; else PyTorch's.

    Raises:
        CheckpointError: a file is missing, or the index is damaged or names one elsewhere.
    """
    index = read_index(folder)
    present = [path.name for path in folder.glob("*.safetensors")]
    if not present and not index:
        index = read_index(folder, PICKLE_INDEX)
        present = [path.name for path in folder.glob(PICKLES)]
    present += [name for name in set(index.values()) if "/" in name and (folder / name).exists()]
    return [folder / name for name in choose_files(folder, index, present)]


def read_headers(folder: Path) -> Header:
    """Every tensor of a folder by name, and the files' metadata.

    Raises:
        CheckpointError: files are missing, damaged, unsafe or contradict each other.
    """
    headers = {str(path.relative_to(folder)): file_header(path) for path in weight_files(folder)}
    return merge_headers(folder, headers, read_index(folder))


def file_header(path: Path) -> Header:
    """Every tensor of one file and its metadata, whichever of the two formats it has.

    Raises:
        CheckpointError: it is damaged, or of neither format.
    """
    return torch_pickle.read_header(path) if path.suffix == ".bin" else read_header(path)


def choose_files(folder: Path, index: Mapping[str, str], present: Collection[str]) -> list[str]:
    """The weight files of a checkpoint: those of the index, else all at the top named model*.

    Raises:
        CheckpointError: one is missing.
    """
    if not index:
        return _without_index(folder, [name for name in present if "/" not in name])
    names = sorted(set(index.values()))
    for name in names:
        if name not in present:
            first = next((tensor for tensor, file in index.items() if file == name), "?")
            raise CheckpointError(
                f"{folder / name}: shard missing; it holds tensor {first!r}. Download it again."
            )
    # Conversions leave it out of the index, for mlx-lm.
    extra = MTP_FILE in present and MTP_FILE not in names
    return [*names, MTP_FILE] if extra else names


def _without_index(folder: Path, present: Collection[str]) -> list[str]:
    extra = [MTP_FILE] if MTP_FILE in present else []
    names = sorted(name for name in present if name not in extra)
    named = ([name for name in names if name.startswith(prefix)] for prefix in PREFIXES)
    names = next(filter(None, named), [])
    if not names:
        raise CheckpointError(
            f"{folder}: no weights. Expected .safetensors files, or PyTorch's {PICKLES}."
        )
    for match in [match for name in names if (match := SHARD.fullmatch(name))]:
        stem, number, total, suffix = match.groups()
        for shard in range(1, int(total) + 1) if len(total) < 8 else ():
            name = f"{stem}-{shard:0{len(number)}d}-of-{total}{suffix}"
            if name not in names:
                raise CheckpointError(f"{folder / name}: shard missing. Download it again.")
    return names + extra


def merge_headers(folder: Path, headers: Mapping[str, Header], index: Mapping[str, str]) -> Header:
    """The tensors of all files; `index` decides where a tensor is in several.

    Raises:
        CheckpointError: a tensor is in two files, or not where the index says.
    """
    infos: dict[str, TensorInfo] = {}
    metadata: dict[str, str] = {}
    for name, (header, notes) in headers.items():
        metadata |= notes
        for tensor, info in header.items():
            if tensor in infos and index.get(tensor) is None:
                raise CheckpointError(
                    f"{folder / name}: tensor {tensor!r} is in {infos[tensor].file.name} too. "
                    "Remove the file that does not belong to the checkpoint."
                )
            if index.get(tensor, name) == name:
                infos[tensor] = info
    for tensor, name in index.items():
        if tensor not in infos:
            raise CheckpointError(
                f"{folder / name}: tensor {tensor!r} is not in the file that the index names. "
                "Download both again."
            )
    return infos, metadata


def read_index(folder: Path, name: str = INDEX) -> dict[str, str]:
    """Tensor names and their files, {} without an index.

    Raises:
        CheckpointError: damaged, or it names a path outside the folder.
    """
    path = folder / name
    if not path.exists():
        return {}
    table = read_json(path, CheckpointError).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise CheckpointError(f"{path}: no weight_map. Expected tensor names and their files.")
    suffix = ".bin" if name == PICKLE_INDEX else ".safetensors"
    for tensor, file in table.items():
        inside = isinstance(file, str) and file and "\\" not in file and "\0" not in file
        parts = PurePosixPath(file) if inside else PurePosixPath("..")
        if parts.is_absolute() or ".." in parts.parts or parts.suffix != suffix:
            raise CheckpointError(
                f"{path}: tensor {tensor!r} points to {file!r}. Expected a weight file in the "
                "checkpoint's own folder; the index may be malicious."
            )
    return table
