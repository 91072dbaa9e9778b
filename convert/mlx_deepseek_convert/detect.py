"""Tell Hugging Face checkpoints from MLX ones, and find them on disk or on the hub."""

import re
from pathlib import Path

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.source import is_mlx_layout, open_source, read_config

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def is_source(folder: str | Path) -> bool:
    """Whether a folder holds a Hugging Face checkpoint rather than an MLX one.

    Llama- and Qwen-shaped checkpoints have the same names in both; then the files' metadata
    decides, which says "mlx" in those that MLX programs write.

    Raises:
        CheckpointError, ConfigError: it holds no readable checkpoint at all.
    """
    folder = Path(folder)
    if "quantization" in read_config(folder):
        return False
    source = open_source(folder)
    return source.metadata.get("format") != "mlx" and not is_mlx_layout(source)


def locate(source: str | Path) -> Path:
    """The folder of a checkpoint; a hub id is downloaded first.

    Raises:
        CheckpointError: neither a folder nor a hub id.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if isinstance(source, str) and HUB_ID.fullmatch(source):
        from mlx_deepseek import hub  # brings huggingface_hub, slow to import

        return hub.fetch(source)
    raise CheckpointError(
        f"{source}: no such folder. Expected a checkpoint's folder or a hub id like "
        "'deepseek-ai/DeepSeek-V2-Lite-Chat'."
    )
