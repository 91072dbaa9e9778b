"""Events as chat completions, in OpenAI's dialect or in DeepSeek's: one object, or chunks."""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from mlx_deepseek.generation.results import Usage
from mlx_deepseek_app.server import sse
from mlx_deepseek_app.server.api.choices import NumberedEvents
from mlx_deepseek_app.server.api.openai_fields import head, now, token_logprobs, usage
from mlx_deepseek_app.server.events import (
    CallArguments,
    CallBegins,
    End,
    Event,
    Progress,
    Reasoning,
    Text,
    WholeAnswer,
)

DONE = "data: [DONE]\n\n"
KIND = "chat.completion"


@dataclass
class ChatWriter:
    """OpenAI's dialect; `reasoning_content` is DeepSeek's name for what was thought."""

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=now)

    async def stream(self, events: NumberedEvents, counts: bool) -> sse.Pieces:
        """Chunks as server-sent events; with `counts`, the last one has the usage."""
        usages: list[Usage] = []
        thinking: dict[int, bool] = {}  # of each answer that has begun
        async with aclosing(events):
            async for index, event in events:
                if isinstance(event, Progress):
                    continue
                if index not in thinking:
                    thinking[index] = isinstance(event, Reasoning)
                    yield self._chunk(index, self._opening(thinking[index]), counts)
                if isinstance(event, End):
                    usages.append(event.usage)
                    yield self._last(index, event, usages, counts, thinking[index])
                elif delta := self._delta(event, thinking[index]):
                    yield self._chunk(index, delta, counts, logprobs=_logprobs_of(event))
        for value in self._counted(usages) if counts else ():
            yield sse.data(value)
        yield DONE

    def whole(self, answers: Sequence[WholeAnswer]) -> dict[str, Any]:
        """A completion."""
        return head(KIND, self.id, self.created, self.model) | {
            "choices": [self._choice(index, answer) for index, answer in enumerate(answers)],
            "usage": usage([answer.usage for answer in answers]),
        }

    def _opening(self, thinking: bool) -> dict[str, Any]:
        return {"role": "assistant", "content": ""}

    def _last(
        self, index: int, event: End, usages: Sequence[Usage], counts: bool, thinking: bool
    ) -> str:
        return self._chunk(index, {}, counts, event.reason)

    def _counted(self, usages: Sequence[Usage]) -> list[dict[str, Any]]:
        """One more chunk, for the usage."""
        last = head(f"{KIND}.chunk", self.id, self.created, self.model)
        return [last | {"choices": [], "usage": usage(usages)}]

    def _delta(self, event: Event, thinking: bool) -> dict[str, Any] | None:
        match event:
            case Reasoning(text):
                return {"reasoning_content": text}
            case Text(text):
                return {"content": text}
            case CallBegins(index, number, name):
                function = {"name": name, "arguments": ""}
                call = {"index": index, "id": number, "type": "function", "function": function}
                return {"tool_calls": [call]}
            case CallArguments(index, text):
                return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}
        return None

    def _chunk(
        self,
        index: int,
        delta: Mapping[str, Any],
        counts: bool,
        reason: str | None = None,
        logprobs: Mapping[str, Any] | None = None,
        usage: Mapping[str, Any] | None = None,
    ) -> str:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        value = head(f"{KIND}.chunk", self.id, self.created, self.model)
        told = {"usage": usage} if counts or usage else {}
        return sse.data(value | {"choices": [choice]} | told)

    def _choice(self, index: int, answer: WholeAnswer) -> dict[str, Any]:
        """One answer."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        message["annotations"] = []
        if answer.reasoning:
            message["reasoning_content"] = answer.reasoning
        if answer.calls:
            message["content"] = answer.text or None
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in answer.calls
            ]
        choice = {"index": index, "message": message, "finish_reason": answer.reason}
        return choice | {"logprobs": _logprobs(answer)}


class DeepSeekChatWriter(ChatWriter):
    """DeepSeek's dialect: text and reasoning stand side by side, the last chunk has the usage."""

    def _opening(self, thinking: bool) -> dict[str, Any]:
        opening = {"role": "assistant", "content": None if thinking else ""}
        return opening | ({"reasoning_content": ""} if thinking else {})

    def _last(
        self, index: int, event: End, usages: Sequence[Usage], counts: bool, thinking: bool
    ) -> str:
        delta = {"content": "", **({"reasoning_content": None} if thinking else {})}
        return self._chunk(index, delta, counts, event.reason, usage=usage(usages))

    def _counted(self, usages: Sequence[Usage]) -> list[dict[str, Any]]:
        return []

    def _delta(self, event: Event, thinking: bool) -> dict[str, Any] | None:
        match event:
            case Reasoning(text):
                return {"content": None, "reasoning_content": text}
            case Text(text) if thinking:
                return {"content": text, "reasoning_content": None}
        return super()._delta(event, thinking)

    def _choice(self, index: int, answer: WholeAnswer) -> dict[str, Any]:
        choice = super()._choice(index, answer)
        message = choice["message"]
        del message["refusal"], message["annotations"]
        message["content"] = answer.text
        for place, call in enumerate(message.get("tool_calls", ())):
            message["tool_calls"][place] = {"index": place, **call}
        return choice


def _logprobs_of(event: Event) -> dict[str, Any] | None:
    match event:
        case Text(_, logprobs) if logprobs:
            return {"content": token_logprobs(logprobs), "refusal": None}
        case Reasoning(_, logprobs) if logprobs:
            return {"content": [], "reasoning_content": token_logprobs(logprobs), "refusal": None}
    return None


def _logprobs(answer: WholeAnswer) -> dict[str, Any] | None:
    if not (answer.logprobs or answer.reasoning_logprobs):
        return None
    found = {"content": token_logprobs(answer.logprobs), "refusal": None}
    if answer.reasoning_logprobs:
        found["reasoning_content"] = token_logprobs(answer.reasoning_logprobs)
    return found
