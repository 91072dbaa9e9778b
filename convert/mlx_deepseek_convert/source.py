"""A checkpoint as a source: its config, its tensors and their meaning, from headers alone."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.tensor_file import TensorInfo
from mlx_deepseek_convert.headers import INDEX, read_headers, read_json
from mlx_deepseek_convert.pairing import pair_packed, pair_scales
from mlx_deepseek_convert.tensors import Tensor

__all__ = ["INDEX", "Source", "is_mlx_layout", "open_source", "pair_scales", "read_config"]


@dataclass(frozen=True)
class Remote:
    """Files of one commit of a hub repository: each name's size and, for weights, SHA-256."""

    repo: str
    commit: str
    sizes: Mapping[str, int]
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """A checkpoint's config and tensors; `stored` counts tensors in the files, scales included.

    `identity` changes when the files do; `remote` says that they are on the hub, not in `folder`.
    """

    folder: Path
    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    stored: int
    metadata: Mapping[str, str]
    identity: str = ""
    remote: Remote | None = None


def open_source(folder: Path | str) -> Source:
    """Read a checkpoint's config, index and headers; no weights.

    Raises:
        CheckpointError: files are missing, damaged, unsafe or contradict each other.
        ConfigError: config.json is missing or no JSON object.
    """
    folder = Path(folder)
    config = read_config(folder)
    infos, metadata = read_headers(folder)
    return assemble(folder, config, infos.values(), metadata, _identity(infos.values()))


def assemble(
    folder: Path,
    config: dict[str, Any],
    infos: Collection[TensorInfo],
    metadata: Mapping[str, str],
    identity: str,
    remote: Remote | None = None,
) -> Source:
    """A source from what headers say.

    Raises:
        CheckpointError, ConfigError: as `open_source`.
    """
    pair = pair_packed if "quantization" in config else pair_scales
    tensors = pair(infos, config, folder)
    return Source(folder, config, tensors, len(infos), metadata, identity, remote)


def check_unchanged(source: Source) -> None:
    """Refuse what was read of a folder whose files have changed since `open_source`.

    Raises:
        CheckpointError: they have.
    """
    parts = [part for tensor in source.tensors.values() for part in tensor.parts]
    if source.remote is None and not source.identity.startswith(_identity(parts)):
        raise CheckpointError(
            f"{source.folder}: its files changed while they were read. Convert again when they "
            "are at rest."
        )


def _identity(infos: Iterable[TensorInfo]) -> str:
    digest = hashlib.sha256()
    for path in sorted({info.file for info in infos}):
        status = path.stat()
        digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def is_mlx_layout(source: Source) -> bool:
    """Whether files, config or names are those of converted checkpoints."""
    fused = (".switch_mlp.", ".embed_q.")
    marked = source.metadata.get("format") == "mlx" or "quantization" in source.config
    return marked or any(part in name for name in source.tensors for part in fused)


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a checkpoint folder."""
    path = folder / "config.json"
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder. Expected a checkpoint with config.json.")
    if not path.is_file():
        raise ConfigError(f"{path}: missing. Expected the config.json of the checkpoint.")
    config = read_json(path, ConfigError)
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: not a JSON object. Download it again.")
    return config
