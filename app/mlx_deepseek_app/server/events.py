"""An answer as events: what every API's writer is told, in the order in which it happens."""

import json
import secrets
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from mlx_deepseek.generation.results import Chunk, FinishReason, TokenLogprob, Usage
from mlx_deepseek.prompts.special_tokens import THINK_CLOSE, THINK_OPEN
from mlx_deepseek_app.server.request import Ask, nearest_effort


@dataclass(frozen=True)
class Progress:
    """How far it is; the prompt is being read while there are no tokens of the answer."""

    usage: Usage


@dataclass(frozen=True)
class Reasoning:
    """More of what is thought before the answer."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Text:
    """More of the answer."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class CallBegins:
    """The call number `index` of a function."""

    index: int
    id: str
    name: str


@dataclass(frozen=True)
class CallArguments:
    """More of a call's arguments, which are JSON together."""

    index: int
    text: str


@dataclass(frozen=True)
class End:
    """The answer is finished; `stop` is the stop string that ended it, if one did."""

    reason: FinishReason
    usage: Usage
    stop: str = ""


MARKERS = (THINK_OPEN, THINK_CLOSE)
Event = Progress | Reasoning | Text | CallBegins | CallArguments | End
Events = AsyncGenerator[Event, None]


async def answer(engine: Any, ask: Ask) -> Events:
    """The answer to a request; closing the iterator stops the generation."""
    options = dict(ask.options)
    if ask.is_chat:
        effort = nearest_effort(ask.effort, tuple(engine.prompt_format.efforts))
        chunks = engine.astream(ask.prompt, **options, effort=effort, call_pieces=True)
    else:
        chunks = engine.astream_completion(ask.prompt, ask.suffix, **options)
    reader = EventReader()
    async with aclosing(chunks):
        async for chunk in chunks:
            for event in reader.read(chunk):
                yield event


@dataclass
class EventReader:
    """Takes an answer's chunks apart."""

    calls: int = 0

    def read(self, chunk: Chunk) -> list[Event]:
        """What a chunk tells, in order."""
        reason = chunk.finish_reason
        events: list[Event] = [] if reason else [Progress(chunk.usage)]
        # A chunk with both ends the reasoning; its tokens are counted to what comes last.
        if chunk.reasoning:
            events.append(Reasoning(chunk.reasoning, () if chunk.text else chunk.logprobs))
        if chunk.text or (chunk.logprobs and not chunk.reasoning):
            events.append(Text(chunk.text, spoken(chunk.logprobs, chunk.text)))
        for piece in chunk.call_pieces:
            if piece.name:
                self.calls += 1
                events.append(CallBegins(self.calls - 1, call_id(), piece.name))
            if piece.arguments:
                events.append(CallArguments(self.calls - 1, piece.arguments))
        return [*events, End(reason, chunk.usage, chunk.stop)] if reason else events


def spoken(tokens: tuple[TokenLogprob, ...], text: str) -> tuple[TokenLogprob, ...]:
    """Of tokens those that a text consists of, without the marker before it and its blanks."""
    ends = [place for place, token in enumerate(tokens) if token.text.strip() in MARKERS]
    if not ends:
        return tokens
    rest = tokens[ends[-1] + 1 :]
    while rest and not rest[0].text.strip() and not text.startswith(rest[0].text):
        rest = rest[1:]
    return rest


def call_id() -> str:
    """A name for a call, which its result will refer to."""
    return f"call_{secrets.token_hex(12)}"


@dataclass
class Call:
    """A whole call; `arguments` is JSON."""

    id: str
    name: str
    arguments: str = ""


def decoded(arguments: str | Mapping[str, Any]) -> Any:
    """A call's arguments as an object; what is no JSON stands in an object of its own."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return {"malformed": arguments}


@dataclass
class WholeAnswer:
    """Events joined to a whole answer."""

    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    reasoning_logprobs: list[TokenLogprob] = field(default_factory=list)
    reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    stop: str = ""

    def add(self, event: Event) -> None:
        """Take the next event."""
        match event:
            case Reasoning(text, logprobs):
                self.reasoning += text
                self.reasoning_logprobs += logprobs
            case Text(text, logprobs):
                self.text += text
                self.logprobs += logprobs
            case CallBegins(_, name_id, name):
                self.calls.append(Call(name_id, name))
            case CallArguments(index, text):
                self.calls[index].arguments += text
            case End(reason, usage, stop):
                self.reason, self.usage, self.stop = reason, usage, stop
