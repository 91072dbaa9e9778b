"""Reads an answer as it streams in: reasoning, text and tool calls, cut anywhere."""

from collections.abc import Iterable
from dataclasses import dataclass

from mlx_deepseek.prompts.call_reader import CallPiece, CallReader, beginning
from mlx_deepseek.prompts.special_tokens import THINK_CLOSE, THINK_OPEN
from mlx_deepseek.prompts.tools import ToolCall, ToolMarkup


@dataclass(frozen=True)
class Delta:
    """What a piece of output adds."""

    reasoning: str = ""
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    call_pieces: tuple[CallPiece, ...] = ()

    def __add__(self, other: "Delta") -> "Delta":
        return Delta(
            self.reasoning + other.reasoning,
            self.text + other.text,
            self.tool_calls + other.tool_calls,
            self.call_pieces + other.call_pieces,
        )


class OutputParser:
    """A state machine over markers; text that might begin one is held back until it is clear.

    Nothing is lost: markup that turns out malformed comes out where it stood, markers included.
    With `trim`, whitespace around the reasoning and before the text is the format's, and left out.
    With `in_pieces`, calls come out as they are written; what has begun as one stays one, even if
    it turns out malformed. The first of `stops` to be whole ends everything, wherever it is; it is
    no part of the answer.
    """

    def __init__(
        self,
        *,
        reasoning: bool = False,
        opened: bool = False,
        tools: ToolMarkup | None = None,
        trim: bool = True,
        stops: Iterable[str] = (),
        in_pieces: bool = False,
    ):
        self.stopped_by = ""
        self._stops = tuple(stop for stop in stops if stop)
        self._tools = tools
        self._thinks = reasoning
        self._trim = trim
        self._state = "reasoning" if opened else "text"
        self._before_calls = self._state
        self._pending = ""
        self._calls_open = self._calls_close = ""  # the markers around the calls
        self._block = ""  # raw markup between them
        self._in_pieces = in_pieces
        self._calls: CallReader | None = None  # reads the block, in pieces
        self._between = ""  # what in the block belongs to no call
        self._blanks = {"reasoning": "", "text": ""}  # held back: may be leading or trailing
        self._said = {"reasoning": False, "text": False}

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return bool(self.stopped_by)

    @property
    def reasoning(self) -> bool:
        """Whether what comes next is reasoning, as far as one can tell."""
        return self._state == "reasoning"

    def resume(self, begun: str) -> None:
        """Begin after output that was read before; only what is new comes out."""
        self._pending = begun
        self._read(len(begun))
        self._pending = ""
        self._blanks = {"reasoning": "", "text": ""}

    def feed(self, piece: str) -> Delta:
        """Take the next piece of output, of any length."""
        if self.stopped:
            return Delta()
        self._pending += piece
        found = [(at, at + len(s), s) for s in self._stops if (at := self._pending.find(s)) >= 0]
        if found:
            # The first to be whole, as if letters came one by one; of several, the longest.
            start, _, self.stopped_by = min(found, key=lambda span: (span[1], span[0]))
            self._pending = self._pending[:start]
            return self._read(len(self._pending))
        # No marker counts yet whose end may begin a stop string.
        return self._read(len(self._pending) - beginning(self._pending, self._stops))

    def finish(self) -> Delta:
        """The output has ended; give what was held back."""
        delta = self._read(len(self._pending))
        rest, self._pending = self._pending, ""
        delta += self._emit(rest)
        return delta + self._end_calls("") if self._state == "calls" else delta

    def _read(self, end: int) -> Delta:
        """Take the pending text before `end`, but for what may still become a marker."""
        delta = Delta()
        while True:
            marker, where = self._next_marker(end)
            if marker is None:
                ready = end - beginning(self._pending[:end], self._markers())
                content, self._pending = self._pending[:ready], self._pending[ready:]
                return delta + self._emit(content)
            before, end = self._pending[:where], end - where - len(marker)
            self._pending = self._pending[where + len(marker) :]
            delta += self._emit(before) + self._enter(marker)

    def _markers(self) -> tuple[str, ...]:
        if self._state == "calls":
            return (self._calls_close,)
        calls = tuple(self._tools.blocks) if self._tools else ()
        if self._state == "reasoning":
            return (THINK_CLOSE, *calls)
        # Only at the beginning can the model open its reasoning.
        opening = (THINK_OPEN,) if self._thinks and not any(self._said.values()) else ()
        return (*opening, *calls)

    def _next_marker(self, end: int) -> tuple[str | None, int]:
        """The first marker before `end` that means something where it stands."""
        found = []
        for marker in self._markers():
            where = self._pending.find(marker, 0, end)
            # Text before <think> makes it a mention, as it would be had the text come alone.
            if where >= 0 and (marker != THINK_OPEN or not self._pending[:where].strip()):
                found.append((where, marker))
        where, marker = min(found, default=(-1, None))
        return marker, where

    def _emit(self, content: str) -> Delta:
        if self._state == "calls":
            return self._call_text(content)
        body = self._trimmed(content) if self._trim else content
        return Delta(reasoning=body) if self._state == "reasoning" else Delta(text=body)

    def _trimmed(self, content: str) -> str:
        said, blanks = self._said[self._state], self._blanks[self._state]
        content = blanks + content if said else content.lstrip()
        body = content.rstrip() if self._state == "reasoning" else content
        self._blanks[self._state] = content[len(body) :] if body or said else ""
        self._said[self._state] = said or bool(body)
        return body

    def _enter(self, marker: str) -> Delta:
        if self._state == "calls":
            return self._end_calls(marker)
        if marker in (THINK_OPEN, THINK_CLOSE):
            self._state = "reasoning" if marker == THINK_OPEN else "text"
            return Delta()
        assert self._tools is not None
        self._before_calls, self._state = self._state, "calls"
        self._calls_close = self._tools.blocks[marker]
        # A call may come without the marker that begins the calls.
        alone = marker == self._tools.call_opens
        self._calls_open, self._block, self._between = "" if alone else marker, "", ""
        self._calls = CallReader(self._tools.script) if self._in_pieces else None
        return self._call_text(marker if alone else "")

    def _call_text(self, content: str, last: bool = False) -> Delta:
        """More of the block of calls."""
        self._block += content
        if self._calls is None:
            return Delta()
        pieces, between = self._calls.feed(content, last)
        self._between += between
        return Delta(call_pieces=pieces)

    def _end_calls(self, close: str) -> Delta:
        """Leave the block; a missing end marker does not spoil the calls that are complete."""
        assert self._tools is not None
        delta = self._call_text("", last=True)
        block, self._block = self._block, ""
        self._state = self._before_calls
        if self._calls is None:
            calls, rest = self._tools.read_all(block)
            delta, begun = Delta(tool_calls=calls), bool(calls)
        else:
            rest, begun = self._between, self._calls.begun
        return self._emit(rest if begun else self._calls_open + block + close) + delta
