"""What DeepSeek-OCR's authors ask it; other models understand these, too."""

from mlx_deepseek.errors import PromptError

INSTRUCTIONS = {
    "markdown": "<|grounding|>Convert the document to markdown.",
    "ocr": "<|grounding|>OCR this image.",
    "free": "Free OCR.",
    "figure": "Parse the figure.",
    "describe": "Describe this image in detail.",
}
LOCATE = "locate"


def instruction(prompt: str) -> str:
    """The text of a named instruction, of "locate: PHRASE", or `prompt` itself.

    Raises:
        PromptError: it is empty, or has no phrase to locate.
    """
    name, colon, phrase = prompt.strip().partition(":")
    if name == LOCATE:
        if not phrase.strip():
            raise PromptError(f'Expected "{LOCATE}: PHRASE"; got {prompt!r}.')
        return f"Locate <|ref|>{phrase.strip()}<|/ref|> in the image."
    if not name and not colon:
        raise PromptError(
            f"The prompt is empty. Expected {', '.join(INSTRUCTIONS)}, {LOCATE}: PHRASE, or a text."
        )
    return INSTRUCTIONS.get(prompt.strip(), prompt)
