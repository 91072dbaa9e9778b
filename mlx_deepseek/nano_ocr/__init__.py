"""nano-ocr: the embedded reader of pictures, DeepSeek-OCR in miniature, trained by this project."""

from importlib.resources import files
from pathlib import Path

SUGGESTIONS: tuple[str, ...] = ("Free OCR.", "<|grounding|>Convert the document to markdown.")


def checkpoint_path() -> Path:
    """The folder with nano-ocr's weights, in Hugging Face layout; it is part of the package."""
    return Path(str(files("mlx_deepseek.nano_ocr"))) / "checkpoint"
