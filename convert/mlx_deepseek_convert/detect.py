"""Tell Hugging Face checkpoints from MLX ones, and find them on disk or on the hub."""

from pathlib import Path

from mlx_deepseek.progress import Progress
from mlx_deepseek_convert.source import Source, is_mlx_layout, open_source, read_config


def is_source(source: str | Path, revision: str | None = None) -> bool:
    """Whether a folder or repository holds a Hugging Face checkpoint rather than an MLX one.

    Llama- and Qwen-shaped checkpoints have the same names in both; then the files' metadata
    decides, which says "mlx" in those that MLX programs write.

    Raises:
        DeepSeekError: it holds no readable checkpoint at all.
    """
    folder = Path(source).expanduser()
    if folder.is_dir() and "quantization" in read_config(folder):
        return False
    return not is_mlx_layout(find_source(source, revision))


def find_source(source: str | Path, revision: str | None = None) -> Source:
    """The source that is a folder, "nano", or on the hub, of which only headers are read.

    Raises:
        DeepSeekError: nothing has that name, or it is no checkpoint.
    """
    if Path(source).expanduser().is_dir():
        return open_source(Path(source).expanduser())
    from mlx_deepseek import sources  # brings huggingface_hub, slow to import

    repo = sources.hub_id(source)
    if repo is None:
        return open_source(sources.locate(source).folder)
    from mlx_deepseek_convert.remote import open_remote

    return open_remote(repo, revision)


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
