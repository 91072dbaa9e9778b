"""Tell Hugging Face checkpoints from MLX ones, and find them on disk or on the hub."""

from pathlib import Path

from mlx_deepseek.progress import Progress
from mlx_deepseek_convert.source import is_mlx_layout, open_source, read_config


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


def locate(source: str | Path, progress: Progress | None = None) -> Path:
    """The folder of a checkpoint, given as folder, hub id (downloaded first) or "nano".

    Raises:
        DeepSeekError: nothing has that name, or the download fails.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    from mlx_deepseek import sources  # brings huggingface_hub, slow to import

    return sources.locate(source, progress=progress).folder
