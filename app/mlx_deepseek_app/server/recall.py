"""Calls as the model wrote them, for clients that send them back otherwise.

Models of DeepSeek are to see the reasoning of a round of calls again while it lasts; OpenAI's chat
completions have no place for it, so many clients lose it. Anthropic's messages have a call's input
as an object, whose JSON was spaced as the model liked: written anew, it would be other tokens than
those in the cache.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

from mlx_deepseek_app.server.events import Call, End, Event, Text, WholeAnswer, decoded
from mlx_deepseek_app.server.request import Ask, Message

MOST = 4096


@dataclass(frozen=True)
class Written:
    """A call's arguments as they were written, and what was thought before."""

    arguments: str
    thought: str


class Recall:
    """Keeps the newest calls, in memory."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._calls: OrderedDict[str, Written] = OrderedDict()

    def put(self, call: Call, thought: str) -> None:
        """Note a call."""
        self._calls[call.id] = Written(call.arguments, thought)
        while len(self._calls) > self._most:
            self._calls.popitem(last=False)

    def completed(self, ask: Ask) -> Ask:
        """A request whose calls are as they were written, with the reasoning that is known."""
        if not ask.is_chat:
            return ask
        messages: Any = ask.prompt
        return replace(ask, prompt=[self._restored(message) for message in messages])

    def _restored(self, message: Message) -> Message:
        calls = message.get("tool_calls")
        if not calls:
            return message
        known = [self._calls.get(call.get("id", "")) for call in calls]
        pairs = zip(calls, known, strict=True)
        message = message | {"tool_calls": [as_written(call, written) for call, written in pairs]}
        thought = next((one.thought for one in known if one and one.thought), None)
        if not thought or message.get("reasoning_content"):
            return message
        return message | {"reasoning_content": thought}


def as_written(call: dict[str, Any], written: Written | None) -> dict[str, Any]:
    """A call with its former text, if that means the same."""
    function = call["function"]
    if written is None or decoded(function["arguments"]) != decoded(written.arguments):
        return call
    return call | {"function": function | {"arguments": written.arguments or "{}"}}


@dataclass
class Listener:
    """Gathers an answer's reasoning and calls, and notes them."""

    recall: Recall
    answer: WholeAnswer = field(default_factory=WholeAnswer)

    def saw(self, event: Event) -> None:
        """Take the next event."""
        if not isinstance(event, Text):
            self.answer.add(event)
        if isinstance(event, End):
            for call in self.answer.calls:
                self.recall.put(call, self.answer.reasoning)
