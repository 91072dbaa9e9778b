"""Tokens to what is shown: streaming detokenizer, stop strings, the prompt format's parser."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlx_deepseek.completion import Chunk, FinishReason, Usage
from mlx_deepseek.generate import Step
from mlx_deepseek.stopping import StopFilter


class Reader:
    """Reads one generation; `parser` None takes all output as text."""

    def __init__(self, detokenizer: Any, parser: Any, stops: Sequence[str]):
        self.detokenizer = detokenizer
        self.parser = parser
        self.filter = StopFilter(stops)
        self.called = False
        self.reasoning_tokens = 0

    def resume(self, begun: str, token: int) -> None:
        """Begin after an answer of which `token` is the last; only what is new comes out."""
        self.detokenizer.add_token(token)  # it drops the blank that a text begins with
        self.detokenizer.finalize()
        _ = self.detokenizer.last_segment
        if self.parser is not None:
            self.parser.resume(begun)

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self.filter.stopped

    def read(self, step: Step) -> Chunk:
        """What one more token adds."""
        if step.token is None:
            return Chunk(usage=step.usage)
        reasoning = self._reasoning
        self.detokenizer.add_token(step.token)
        chunk = self._parse(self.filter.feed(self.detokenizer.last_segment), step.usage)
        self.reasoning_tokens += reasoning or self._reasoning
        return replace(chunk, usage=self._counted(step.usage))

    def finish(self, usage: Usage, reason: FinishReason) -> Chunk:
        """What was held back, with the reason of the end."""
        self.detokenizer.finalize()
        text = self.filter.feed(self.detokenizer.last_segment) + self.filter.finish()
        last = self._parse(text, usage)
        if self.parser is not None:
            rest = self.parser.finish()
            self.called = self.called or bool(rest.tool_calls)
            last = Chunk(
                text=last.text + rest.text,
                reasoning=last.reasoning + rest.reasoning,
                tool_calls=last.tool_calls + tuple(rest.tool_calls),
            )
        if self.stopped:
            reason = "stop"
        return Chunk(
            last.text,
            last.reasoning,
            last.tool_calls,
            self._counted(usage),
            "tool_calls" if self.called and reason == "stop" else reason,
        )

    @property
    def _reasoning(self) -> bool:
        return self.parser is not None and self.parser.reasoning

    def _counted(self, usage: Usage) -> Usage:
        return replace(usage, reasoning_tokens=self.reasoning_tokens)

    def _parse(self, text: str, usage: Usage) -> Chunk:
        if self.parser is None:
            return Chunk(text=text, usage=usage)
        delta = self.parser.feed(text)
        self.called = self.called or bool(delta.tool_calls)
        return Chunk(delta.text, delta.reasoning, tuple(delta.tool_calls), usage)
