"""A checkpoint as a source: its config, its tensors and their meaning, from headers alone."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_deepseek.checkpoint.files import read_headers, released_config
from mlx_deepseek.checkpoint.safetensors_header import TensorInfo
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.source.pairing import pair_packed, pair_scales
from mlx_deepseek_convert.source.tensors import Tensor


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

    @property
    def is_release(self) -> bool:
        """Whether names and shapes are a Hugging Face release's: neither files, config nor names
        are those of converted checkpoints.

        Llama- and Qwen-shaped ones have the same names in both; then the files' metadata decides,
        which says "mlx" in those that MLX programs write.
        """
        fused = (".switch_mlp.", ".embed_q.")
        marked = self.metadata.get("format") == "mlx" or "quantization" in self.config
        return not marked and not any(part in name for name in self.tensors for part in fused)


def open_source(folder: Path | str) -> Source:
    """Read a checkpoint's config, index and headers; no weights.

    Raises:
        CheckpointError: files are missing, damaged, unsafe or contradict each other.
        ConfigError: config.json is missing or no JSON object.
    """
    folder = Path(folder)
    config = released_config(folder)
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
