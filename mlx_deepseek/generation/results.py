"""What a generation gives: the pieces of a stream, the whole, and its costs."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.call_reader import CallPiece
from mlx_deepseek.prompts.tools import ToolCall

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True)
class Usage:
    """Counts in tokens, speeds in tokens per second.

    `prompt_tokens` includes `cached_tokens`, which were taken from the prompt cache; `prompt_tps`
    is the speed of reading the others. Of `drafted_tokens`, guessed ahead by a drafter, the model
    itself would have written `accepted_tokens`. Of `completion_tokens`, `reasoning_tokens` came
    before the answer, marker included. `peak_memory_bytes` includes the weights.

    Where experts are on disk: the share of those that the answer's tokens chose that was found in
    memory (None: all are there), what was read for each token, and the share of the time spent
    waiting for it; with what other requests at the same time took.
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
    expert_hit_rate: float | None = None
    disk_bytes_per_token: float = 0.0
    waiting_share: float = 0.0


@dataclass(frozen=True)
class TokenLogprob:
    """A token, its text (U+FFFD where it is a part of a character), and its log-probability.

    `top` are the likeliest tokens in its place, as many as were asked for.
    """

    token: int
    text: str
    logprob: float
    top: tuple["TokenLogprob", ...] = ()


@dataclass(frozen=True)
class Chunk:
    """What is new since the previous chunk; `usage` is the state so far.

    All are empty while a long prompt is read. Calls come in `call_pieces` in place of `tool_calls`
    where that was asked for. Only the last chunk has a `finish_reason`, and `stop`, the stop string
    that ended the answer, if one did.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    call_pieces: tuple[CallPiece, ...] = ()
    stop: str = ""

    @property
    def says_something(self) -> bool:
        """Whether there is anything in it to show."""
        return bool(self.text or self.reasoning or self.tool_calls or self.call_pieces)


@dataclass(frozen=True)
class Completion:
    """A finished answer; `reasoning` is what the model thought before it.

    `finish_reason` "length" means that the answer was cut off. `logprobs` are of every token that
    was written, if asked for; `alternatives` are the other answers, where `n` asked for several.
    """

    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    usage: Usage
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] = ()
    alternatives: tuple["Completion", ...] = ()

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a chat message, to append to the conversation."""
        return as_message(self.text, self.reasoning, self.tool_calls)

    @property
    def parsed(self) -> Any:
        """The answer's JSON as Python values.

        Raises:
            PromptError: it was cut off, or is no JSON.
        """
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            cut = self.finish_reason == "length"
            remedy = "Raise max_tokens." if cut else "Ask with response_format."
            state = "was cut off" if cut else "is no JSON"
            raise PromptError(f"The answer {state}: {self.text!r:.60}. {remedy}") from error


@dataclass
class Accumulator:
    """Joins chunks to an answer; it may be asked at any time."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    finish_reason: FinishReason | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def add(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        self.text += chunk.text
        self.reasoning += chunk.reasoning
        self.tool_calls += chunk.tool_calls
        self.logprobs += chunk.logprobs
        self.usage = chunk.usage
        self.finish_reason = chunk.finish_reason or self.finish_reason

    @property
    def says_something(self) -> bool:
        """Whether there is anything yet."""
        return bool(self.text or self.reasoning or self.tool_calls)

    @property
    def message(self) -> dict[str, Any]:
        """What there is of the answer as a chat message."""
        return as_message(self.text, self.reasoning, self.tool_calls)

    @property
    def completion(self) -> Completion:
        """The answer."""
        reason = self.finish_reason or "stop"
        parts = (self.text, self.reasoning, self.tool_calls, self.usage, reason)
        return Completion(*parts, logprobs=tuple(self.logprobs))


def collect(chunks: Iterable[Chunk]) -> Completion:
    """Join a stream into one completion."""
    answer = Accumulator()
    for chunk in chunks:
        answer.add(chunk)
    return answer.completion


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
