"""Events as Anthropic's messages: one object, or its server-sent events."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from mlx_deepseek.generation.results import Usage
from mlx_deepseek_app.server import sse
from mlx_deepseek_app.server.events import (
    CallArguments,
    CallBegins,
    End,
    Event,
    Events,
    Progress,
    Reasoning,
    Text,
    WholeAnswer,
    decoded,
)

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


@dataclass
class MessageWriter:
    """Writes one answer of a model; `stops` are the strings that may have ended it."""

    model: str
    stops: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: f"msg_{secrets.token_hex(12)}")
    _open: str = ""  # the kind of the block that is open
    _index: int = -1

    async def stream(self, events: Events) -> sse.Pieces:
        """Server-sent events, each with a name."""
        begun = False
        async with aclosing(events):
            async for event in events:
                if not begun and (not isinstance(event, Progress) or event.usage.prompt_tokens):
                    begun = True
                    yield self._start(getattr(event, "usage", Usage()))
                for value in self._event(event):
                    yield sse.named(value)

    def whole(self, answer: WholeAnswer) -> dict[str, Any]:
        """A message."""
        content: list[dict[str, Any]] = []
        if answer.reasoning:
            content.append({"type": "thinking", "thinking": answer.reasoning, "signature": self.id})
        if answer.text or not answer.calls:
            content.append({"type": "text", "text": answer.text, "citations": None})
        for call in answer.calls:
            content.append(_call(call.id, call.name, decoded(call.arguments)))
        message = self._message(content, answer.usage)
        return message | self._ended(answer.reason, answer.stop)

    def _start(self, counts: Usage) -> str:
        message = self._message([], counts) | {"stop_reason": None, "stop_sequence": None}
        return sse.named({"type": "message_start", "message": message})

    def _message(self, content: list[dict[str, Any]], counts: Usage) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "container": None,
            "usage": usage(counts),
        }

    def _event(self, event: Event) -> Iterator[dict[str, Any]]:
        match event:
            case Reasoning(text):
                yield from self._begin({"type": "thinking", "thinking": "", "signature": ""})
                yield self._delta({"type": "thinking_delta", "thinking": text})
            case Text(text) if text:
                yield from self._begin({"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": text})
            case CallBegins(_, number, name):
                yield from self._end()
                yield from self._begin(_call(number, name, {}))
            case CallArguments(_, text):
                yield self._delta({"type": "input_json_delta", "partial_json": text})
            case End(reason, counts, stop):
                if self._index < 0:  # an empty answer has a block, too
                    yield from self._begin({"type": "text", "text": ""})
                yield from self._end()
                ended = {"delta": self._ended(reason, stop), "usage": usage(counts)}
                yield {"type": "message_delta", **ended}
                yield {"type": "message_stop"}

    def _begin(self, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Open a block of a kind, if it is not open."""
        if self._open == block["type"]:
            return
        yield from self._end()
        self._open = block["type"]
        self._index += 1
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _end(self) -> Iterator[dict[str, Any]]:
        if not self._open:
            return
        if self._open == "thinking":
            yield self._delta({"type": "signature_delta", "signature": self.id})
        self._open = ""
        yield {"type": "content_block_stop", "index": self._index}

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _ended(self, reason: str, stop: str) -> dict[str, Any]:
        if reason == "stop" and stop in self.stops:
            return {"stop_reason": "stop_sequence", "stop_sequence": stop}
        return {"stop_reason": REASONS[reason], "stop_sequence": None}


def _call(number: str, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A block that calls a tool."""
    named = {"type": "tool_use", "id": number, "name": name, "input": arguments}
    return named | {"caller": {"type": "direct"}}


def usage(counts: Usage) -> dict[str, Any]:
    """Tokens as Anthropic counts them: `input_tokens` are those that had to be read."""
    return {
        "input_tokens": counts.prompt_tokens - counts.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "cache_read_input_tokens": counts.cached_tokens,
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {"thinking_tokens": counts.reasoning_tokens},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
    }
