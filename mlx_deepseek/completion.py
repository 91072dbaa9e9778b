"""What a generation gives: the pieces of a stream, the whole, and its costs."""

from dataclasses import dataclass
from typing import Any, Literal

from mlx_deepseek.prompts.tools import ToolCall

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class Usage:
    """Counts in tokens, speeds in tokens per second.

    `prompt_tokens` includes `cached_tokens`, which were taken from the latent cache; `prompt_tps`
    is the speed of reading the others. Of `drafted_tokens`, guessed ahead by a drafter, the model
    itself would have written `accepted_tokens`. Of `completion_tokens`, `reasoning_tokens` came
    before the answer, marker included. `peak_memory_bytes` includes the weights.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    prompt_tps: float = 0.0
    generation_tps: float = 0.0
    peak_memory_bytes: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True)
class Chunk:
    """What is new since the previous chunk; `usage` is the state so far.

    All are empty while a long prompt is read. Only the last chunk has a `finish_reason`.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None


@dataclass(frozen=True)
class Completion:
    """A finished answer; `reasoning` is what the model thought before it."""

    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    finish_reason: FinishReason

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a chat message, to append to the conversation."""
        return as_message(self.text, self.reasoning, self.tool_calls)


def as_message(text: str, reasoning: str, tool_calls: tuple[ToolCall, ...]) -> dict[str, Any]:
    """An assistant's message in the DeepSeek API's shape."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reasoning:
        message["reasoning_content"] = reasoning
    if tool_calls:
        message["tool_calls"] = [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for number, call in enumerate(tool_calls)
        ]
    return message
