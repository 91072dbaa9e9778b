"""Text from outside to tokens: Unicode, and control tokens in it made harmless."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

# What it separates is encoded apart: it is put inside control tokens that users typed, so that they
# become plain text, and where a format's originals are encoded in pieces. Half a surrogate pair is
# no character, so no well-formed text contains it.
GUARD = "\ud800"
# What of a message reaches the prompt.
SPOKEN = ("content", "reasoning_content", "tool_calls", "tools")
# </think> separates reasoning in histories that clients send back in one piece.
ASSISTANT_MAY = ("<think>", "</think>")


class PromptTokenizer(Protocol):
    """What encoding needs of a tokenizer (transformers' or mlx-lm's wrapper)."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]: ...
    def get_added_vocab(self) -> dict[str, int]: ...


def well_formed(value: Any) -> Any:
    """A copy of a text, or of lists and dicts of texts, that is Unicode.

    Surrogate pairs become the character they spell, halves the replacement character, as where
    browsers and JSON readers take in such text.
    """
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value
    if isinstance(value, Mapping):
        return {well_formed(k): well_formed(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [well_formed(item) for item in value]
    return value


def encode(tokenizer: PromptTokenizer, text: str) -> list[int]:
    """Token numbers of a prompt that spells its own BOS; guards split tokens, and vanish."""
    ids: list[int] = []
    for piece in text.split(GUARD):
        ids += tokenizer.encode(piece, add_special_tokens=False)
    return ids


def control_tokens(tokenizer: PromptTokenizer) -> list[str]:
    """All that the tokenizer would not read as plain text, longest first.

    Single letters among the added tokens (V1 and V2 have "ü") are text.
    """
    return sorted((t for t in tokenizer.get_added_vocab() if len(t) > 1), key=len, reverse=True)


def guard(message: Mapping[str, Any], controls: Sequence[str]) -> dict[str, Any]:
    """A copy of a message in which none of `controls` can be recognised."""
    spared = ASSISTANT_MAY if message.get("role") == "assistant" else ()
    told = {key: controls for key in SPOKEN}
    told["content"] = [control for control in controls if control not in spared]
    return {k: guarded(v, told[k]) if k in told else v for k, v in message.items()}


def guarded(value: Any, controls: Sequence[str]) -> Any:
    """A copy of a text, or of lists and dicts of texts, with a guard in every control token."""
    if isinstance(value, str):
        for control in controls:
            value = value.replace(control, control[:1] + GUARD + control[1:])
        return value
    if isinstance(value, Mapping):
        return {guarded(k, controls): guarded(v, controls) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [guarded(item, controls) for item in value]
    return value
