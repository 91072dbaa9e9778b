"""The models that are part of the package."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

NANO, NANO_OCR, NANO_PROVER = "nano", "nano-ocr", "nano-prover"
_PACKAGE = Path(str(files("mlx_deepseek")))
_FOLDERS = {
    NANO: _PACKAGE / "nano" / "text" / "checkpoint",
    NANO_OCR: _PACKAGE / "nano" / "ocr" / "checkpoint",
    NANO_PROVER: _PACKAGE / "nano" / "prover" / "checkpoint",
}
# Folders in Hugging Face layout, by what users call them; a source tree may lack trained weights.
FOLDERS: Mapping[str, Path] = {
    name: folder for name, folder in _FOLDERS.items() if name == NANO or folder.is_dir()
}
# Starter prompts that they answer.
SUGGESTIONS: Mapping[str, tuple[str, ...]] = {
    NANO: (
        "What is 347 + 586?",
        "How many r's are in strawberry?",
        "Which is bigger, 9.11 or 9.8?",
        "Sort 42, 7, 93, 18.",
        "What day is 17 days after Monday?",
        "Convert 7 hours to minutes.",
        "Tom has 48 apples and gives away 19. How many apples are left?",
        "347加586等于多少？",
        "Who are you?",
    ),
    NANO_OCR: ("Free OCR.", "<|grounding|>Convert the document to markdown."),
}


def name_of(folder: Path) -> str | None:
    """The embedded model whose folder this is."""
    folder = folder.resolve()
    return next((name for name, own in FOLDERS.items() if own.resolve() == folder), None)


def checkpoint_path(name: str = NANO) -> Path:
    """The folder with an embedded model's weights, in Hugging Face layout."""
    return _FOLDERS[name]
