"""Prompts for what belongs between two texts."""

from dataclasses import dataclass

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.control_tokens import (
    PromptTokenizer,
    control_tokens,
    encode,
    guarded,
    well_formed,
)
from mlx_deepseek.prompts.special_tokens import BOS


@dataclass(frozen=True)
class FillInMiddle:
    """What a format writes before the text, at the gap and after it; None: it fills no gaps."""

    id: str
    fim_markers: tuple[str, str, str] | None = None

    def fills(self, tokenizer: PromptTokenizer) -> bool:
        """Whether the format can ask for what belongs between two texts."""
        markers = self.fim_markers
        return markers is not None and set(markers) <= set(control_tokens(tokenizer))

    def fim(self, prefix: str, suffix: str) -> str:
        """Prompt for what belongs between `prefix` and `suffix`.

        Raises:
            PromptError: the model was not trained to fill holes.
        """
        if self.fim_markers is None:
            raise PromptError(
                f"Prompt format {self.id!r} has no fill-in-the-middle tokens. Use a Coder V1 base "
                "or Coder-V2 base model."
            )
        begin, hole, end = self.fim_markers
        return f"{BOS}{begin}{prefix}{hole}{suffix}{end}"

    def fim_ids(self, tokenizer: PromptTokenizer, prefix: str, suffix: str) -> list[int]:
        """Token numbers of `fim`, with control tokens in the code as plain text.

        Raises:
            PromptError: the model was not trained to fill holes, or its tokenizer lacks the tokens
                (LLM V1 shares its format with Coder-V2, but not the vocabulary).
        """
        controls = control_tokens(tokenizer)
        text = self.fim(*(guarded(well_formed(code), controls) for code in (prefix, suffix)))
        if not self.fills(tokenizer):
            raise PromptError(
                "This checkpoint's tokenizer has no fill-in-the-middle tokens. Use a Coder V1 base "
                "or Coder-V2 base model."
            )
        return encode(tokenizer, text)
