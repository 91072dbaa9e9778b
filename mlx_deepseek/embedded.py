"""The models that are part of the package."""

from collections.abc import Mapping
from pathlib import Path

from mlx_deepseek import nano, nano_ocr

NANO, NANO_OCR = "nano", "nano-ocr"
# Folders in Hugging Face layout, by what users call them.
FOLDERS: Mapping[str, Path] = {
    NANO: nano.checkpoint_path(),
    NANO_OCR: nano_ocr.checkpoint_path(),
}
# Starter prompts that they answer.
SUGGESTIONS: Mapping[str, tuple[str, ...]] = {
    NANO: nano.SUGGESTIONS,
    NANO_OCR: nano_ocr.SUGGESTIONS,
}
