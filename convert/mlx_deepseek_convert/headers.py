"""Which files a checkpoint folder has and what their headers say, checked against each other."""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.tensor_file import TensorInfo, read_header

INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
SHARD_NUMBER = re.compile(r"(.*)-(\d{5,})-of-(\d{5,})\.safetensors")
MTP_FILE = "mtp.safetensors"

Header = tuple[dict[str, TensorInfo], dict[str, str]]


def read_headers(folder: Path) -> Header:
    """Every tensor of a folder by name, and the files' metadata.

    Raises:
        CheckpointError: files are missing, damaged, unsafe or contradict each other.
    """
    index = read_index(folder)
    present = [path.name for path in folder.glob("*.safetensors")]
    present += [name for name in set(index.values()) if "/" in name and (folder / name).is_file()]
    if not present:
        _refuse_pickles(folder)
    names = choose_files(folder, index, present)
    return merge(folder, {name: read_header(folder / name) for name in names}, index)


def choose_files(folder: Path, index: Mapping[str, str], present: Collection[str]) -> list[str]:
    """The weight files of a checkpoint: those of the index, else all at the top named model*.

    Raises:
        CheckpointError: one is missing.
    """
    if not index:
        return _weight_files(folder, [name for name in present if "/" not in name])
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


def merge(folder: Path, headers: Mapping[str, Header], index: Mapping[str, str]) -> Header:
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
                f"{folder / name}: tensor {tensor!r} is not in the file that {INDEX} names. "
                "Download both again."
            )
    return infos, metadata


def read_index(folder: Path) -> dict[str, str]:
    """Tensor names and their files, {} without an index.

    Raises:
        CheckpointError: damaged, or it names a path outside the folder.
    """
    path = folder / INDEX
    if not path.is_file():
        return {}
    content = read_json(path, CheckpointError)
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


def _refuse_pickles(folder: Path) -> None:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise CheckpointError(
            f"{folder / pickles[0]}: weights as Python pickles, which can run any code, are "
            "not read. Expected .safetensors files; download those, or save the model again "
            "with transformers' save_pretrained on a machine that trusts the file."
        )


def _weight_files(folder: Path, names: Collection[str]) -> list[str]:
    names = sorted(name for name in names if name.startswith("model")) or sorted(names)
    if not names:
        raise CheckpointError(f"{folder}: no weights. Expected .safetensors files.")
    present = {name: match for name in names if (match := SHARD_NUMBER.fullmatch(name))}
    for match in present.values():
        stem, number, total = match.groups()
        for shard in range(1, int(total) + 1) if len(total) < 8 else ():
            name = f"{stem}-{shard:0{len(number)}d}-of-{total}.safetensors"
            if name not in present:
                raise CheckpointError(f"{folder / name}: shard missing. Download it again.")
    return names


def read_json(path: Path, error: type[CheckpointError] | type[ConfigError]) -> Any:
    """A JSON file's content, or `error`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as reason:
        raise error(f"{path}: not readable as JSON ({reason}). Download it again.") from reason
