"""Events as OpenAI's responses: one object, or its typed server-sent events."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from mlx_deepseek.generation.results import TokenLogprob, Usage
from mlx_deepseek_app.server import sse
from mlx_deepseek_app.server.api.openai_fields import now, token_logprobs
from mlx_deepseek_app.server.api.responses_items import Tools
from mlx_deepseek_app.server.errors import understood
from mlx_deepseek_app.server.events import (
    CallArguments,
    CallBegins,
    End,
    Event,
    Events,
    Reasoning,
    Text,
)

Item = dict[str, Any]


@dataclass
class ResponseWriter:
    """Writes one response, which repeats the settings `echo` of its request.

    `finished` is told the response once it is whole.
    """

    echo: Mapping[str, Any]
    tools: Tools
    finished: Callable[[Item], None]
    id: str = field(default_factory=lambda: f"resp_{secrets.token_hex(24)}")
    created: int = field(default_factory=now)
    output: list[Item] = field(default_factory=list)
    _sequence: int = 0
    _text: str = ""  # of the item that is open
    _logprobs: list[TokenLogprob] = field(default_factory=list)
    _open: str = ""

    async def stream(self, events: Events) -> sse.Pieces:
        """Server-sent events, each with a name and a number."""
        try:
            async with aclosing(events):
                async for event in events:
                    if not self._sequence:
                        for kind in ("created", "in_progress"):
                            yield self._response(kind, self.response("in_progress"))
                    for value in self.take(event):
                        yield self._numbered(value)
                    if isinstance(event, End):
                        whole = self.ended(event)
                        yield self._response(whole["status"], whole)
        except Exception as error:
            if not self._sequence:
                raise
            told = understood(error)
            failed = self.response("failed", error={"code": "server_error", "message": str(told)})
            yield self._response("failed", failed)

    def ended(self, end: End) -> Item:
        """The whole response."""
        cut = end.reason == "length"
        details = {"reason": "max_output_tokens"} if cut else None
        whole = self.response(
            "incomplete" if cut else "completed",
            incomplete_details=details,
            completed_at=None if cut else now(),
            usage=usage(end.usage),
        )
        self.finished(whole)
        return whole

    def response(self, status: str, **more: Any) -> Item:
        """The response as it is now."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            **self.echo,
            "output": list(self.output),
            **more,
        }

    def take(self, event: Event) -> Iterator[Item]:
        """What an event adds; items are complete in `output` once they are."""
        match event:
            case Reasoning(text):
                yield from self._begin("reasoning")
                self._text += text
                yield self._of_item("response.reasoning_text.delta", delta=text)
            case Text(text, logprobs):
                if not text and not self._open:
                    return
                yield from self._begin("message")
                self._text += text
                self._logprobs += logprobs
                found = token_logprobs(logprobs)
                yield self._of_item("response.output_text.delta", delta=text, logprobs=found)
            case CallBegins(_, number, name):
                yield from self._end(calls=True)
                yield from self._begin_call(number, name)
            case CallArguments(_, text):
                self._text += text
                if self._open == "function_call":
                    kind = "response.function_call_arguments.delta"
                    yield self._numbers(kind, delta=text)
            case End(reason):
                yield from self._end("incomplete" if reason == "length" else "completed")

    def _begin(self, kind: str) -> Iterator[Item]:
        if self._open == kind:
            return
        yield from self._end()
        place = len(self.output)
        item: Item = {"type": kind, "id": f"rs_{self.id}_{place}", "status": "in_progress"}
        if kind == "reasoning":
            secret = f"{self.id}-{place}"
            item |= {"content": [], "summary": [], "encrypted_content": secret}
        else:
            item |= {"id": f"msg_{self.id}_{place}", "role": "assistant", "phase": "final_answer"}
            item["content"] = []
        yield from self._added(item)
        yield self._of_item("response.content_part.added", part=self._part(""))

    def _begin_call(self, number: str, name: str) -> Iterator[Item]:
        custom = name in self.tools.custom
        kind = "custom_tool_call" if custom else "function_call"
        number_ = f"{'ctc' if custom else 'fc'}_{self.id}_{len(self.output)}"
        item = {"type": kind, "id": number_, "status": "in_progress", "call_id": number}
        item |= self.tools.called(name) | {"input" if custom else "arguments": ""}
        yield from self._added(item)

    def _added(self, item: Item) -> Iterator[Item]:
        self._open, self._text, self._logprobs = item["type"], "", []
        self.output.append(item)
        place = len(self.output) - 1
        yield {"type": "response.output_item.added", "item": dict(item), "output_index": place}

    def _end(self, status: str = "completed", calls: bool = False) -> Iterator[Item]:
        """Complete the item that is open; `calls` follow it."""
        if not self._open:
            return
        item, text = dict(self.output[-1]), self._text
        item["status"] = status
        if self._open == "function_call":
            item["arguments"] = text or "{}"
            kind = "response.function_call_arguments.done"
            yield self._numbers(kind, arguments=item["arguments"])
        elif self._open == "custom_tool_call":
            item["input"] = custom_input(text)
            kind = "response.custom_tool_call_input"
            yield self._numbers(f"{kind}.delta", delta=item["input"])
            yield self._numbers(f"{kind}.done", input=item["input"])
        else:
            part = self._part(text)
            told = {"logprobs": part["logprobs"]} if "logprobs" in part else {}
            yield self._of_item(f"response.{part['type']}.done", text=text, **told)
            yield self._of_item("response.content_part.done", part=part)
            item["content"] = [part]
            if calls and "phase" in item:
                item["phase"] = "commentary"
        self.output[-1] = item
        self._open = ""
        place = len(self.output) - 1
        yield {"type": "response.output_item.done", "item": item, "output_index": place}

    def _part(self, text: str) -> Item:
        if self._open == "reasoning":
            return {"type": "reasoning_text", "text": text}
        found = token_logprobs(self._logprobs)
        return {"type": "output_text", "annotations": [], "logprobs": found, "text": text}

    def _of_item(self, kind: str, **more: Any) -> Item:
        return self._numbers(kind, content_index=0, **more)

    def _numbers(self, kind: str, **more: Any) -> Item:
        place = len(self.output) - 1
        return {"type": kind, "item_id": self.output[-1]["id"], "output_index": place, **more}

    def _response(self, kind: str, response: Item) -> str:
        return self._numbered({"type": f"response.{kind}", "response": response})

    def _numbered(self, value: Item) -> str:
        self._sequence += 1
        return sse.named(value | {"sequence_number": self._sequence - 1})


def usage(counts: Usage) -> Item:
    """Tokens as responses count them."""
    return {
        "input_tokens": counts.prompt_tokens,
        "input_tokens_details": {"cached_tokens": counts.cached_tokens},
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
        "total_tokens": counts.prompt_tokens + counts.completion_tokens,
    }


def custom_input(arguments: str) -> str:
    """The text that a custom tool is called with."""
    try:
        value = json.loads(arguments or "{}")
    except ValueError:
        return arguments
    return str(value.get("input", arguments)) if isinstance(value, dict) else arguments
