"""Tokens to what is shown: one stream from token numbers to text, reasoning and tool calls."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mlx_deepseek.generation.request import GeneratedToken
from mlx_deepseek.generation.results import Chunk, FinishReason, TokenLogprob, Usage
from mlx_deepseek.prompts.parser import Delta, OutputParser


class OutputStream:
    """Reads one generation.

    The tokenizer's bytes become letters in the detokenizer; what may still become a stop string or
    a marker waits in the parser, and nowhere else. Tokens in `stop_ids` are no part of it.
    """

    def __init__(
        self,
        tokenizer: Any,
        parser: OutputParser,
        stop_ids: frozenset[int] = frozenset(),
        note: Callable[[list[int]], None] | None = None,
    ):
        """`note` is told all tokens of an answer that ends with one of `stop_ids`."""
        self._note, self._written = note, []
        self._stop_ids = stop_ids
        self._tokenizer = tokenizer
        self._detokenizer = tokenizer.detokenizer
        self._parser = parser
        self._called = False
        self._reasoning_tokens = 0
        self._logprobs: list[TokenLogprob] = []  # of tokens whose text is still held back

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self._parser.stopped

    def take(self, step: GeneratedToken) -> Chunk | None:
        """What one more token adds, or that a part of the prompt is read; None: nothing yet."""
        if step.token is not None:
            self._written.append(step.token)
        if step.token in self._stop_ids:
            if self._note is not None:
                self._note(self._written)
            return None
        chunk = self.read(step)
        return chunk if step.token is None or chunk.says_something else None

    def read(self, step: GeneratedToken) -> Chunk:
        """What one more token adds."""
        if step.token is None:
            return Chunk(usage=step.usage)
        reasoning = self._parser.reasoning
        self._detokenizer.add_token(step.token)
        delta = self._parser.feed(self._detokenizer.last_segment)
        self._reasoning_tokens += reasoning or self._parser.reasoning
        self._logprobs += self._named(step.logprobs)
        return self._chunk(delta, step.usage)

    def finish(self, usage: Usage, reason: FinishReason) -> Chunk:
        """What was held back, with the reason of the end."""
        self._detokenizer.finalize()
        delta = self._parser.feed(self._detokenizer.last_segment) + self._parser.finish()
        chunk = self._chunk(delta, usage, last=True)
        reason = "stop" if self.stopped else reason
        reason = "tool_calls" if self._called and reason == "stop" else reason
        return replace(chunk, finish_reason=reason, stop=self._parser.stopped_by)

    def _chunk(self, delta: Delta, usage: Usage, last: bool = False) -> Chunk:
        self._called = self._called or bool(delta.tool_calls or delta.call_pieces)
        usage = replace(usage, reasoning_tokens=self._reasoning_tokens)
        said = (delta.text, delta.reasoning, delta.tool_calls, usage)
        chunk = Chunk(*said, call_pieces=delta.call_pieces)
        if self._logprobs and (last or chunk.says_something):
            chunk = replace(chunk, logprobs=tuple(self._logprobs))
            self._logprobs = []
        return chunk

    def _named(self, numbers: Sequence[tuple[int, float]]) -> list[TokenLogprob]:
        """The chosen token with its alternatives."""
        if not numbers:
            return []
        chosen, *top = (
            TokenLogprob(token, self._tokenizer.decode([token]), value) for token, value in numbers
        )
        return [replace(chosen, top=tuple(top))]
