"""nano: the embedded default model, a real but tiny DeepSeek-V3 trained by this project."""

from importlib.resources import files
from pathlib import Path

# Starter prompts that nano answers.
SUGGESTIONS: tuple[str, ...] = (
    "What is 347 + 586?",
    "How many r's are in strawberry?",
    "Which is bigger, 9.11 or 9.8?",
    "Sort 42, 7, 93, 18.",
    "What day is 17 days after Monday?",
    "Convert 7 hours to minutes.",
    "Tom has 48 apples and gives away 19. How many apples are left?",
    "347加586等于多少？",
    "Who are you?",
)


def checkpoint_path() -> Path:
    """The folder with nano's weights, in Hugging Face layout; it is part of the package."""
    return Path(str(files("mlx_deepseek.nano"))) / "checkpoint"
