"""The models that are part of the package."""

from collections.abc import Mapping
from pathlib import Path

from mlx_deepseek import nano, nano_ocr

NANO, NANO_OCR = "nano", "nano-ocr"
# Folders in Hugging Face layout, by what users call them; a source tree may lack trained weights.
FOLDERS: Mapping[str, Path] = {
    name: folder
    for name, folder in (
        (NANO, nano.checkpoint_path()),
        (NANO_OCR, nano_ocr.checkpoint_path()),
    )
    if name == NANO or folder.is_dir()
}
# Starter prompts that they answer.
SUGGESTIONS: Mapping[str, tuple[str, ...]] = {
    NANO: nano.SUGGESTIONS,
    NANO_OCR: nano_ocr.SUGGESTIONS,
}
