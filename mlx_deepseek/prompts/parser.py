"""Reads an answer as it streams in: reasoning, text and tool calls, cut anywhere."""

from dataclasses import dataclass

from mlx_deepseek.prompts.markers import (
    CALL_CLOSE,
    CALL_OPEN,
    CALLS_CLOSE,
    CALLS_OPEN,
    THINK_CLOSE,
    THINK_OPEN,
)
from mlx_deepseek.prompts.tools import ToolCall, ToolMarkup


@dataclass(frozen=True)
class Delta:
    """What a piece of output adds."""

    reasoning: str = ""
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()

    def __add__(self, other: "Delta") -> "Delta":
        return Delta(
            self.reasoning + other.reasoning,
            self.text + other.text,
            self.tool_calls + other.tool_calls,
        )


class OutputParser:
    """A state machine over markers; text that might begin one is held back until it is clear.

    Nothing is lost: markup that turns out malformed comes out as text. Whitespace around the
    reasoning and before the text is the format's and is left out.
    """

    def __init__(self, *, reasoning: bool, opened: bool, tools: ToolMarkup | None):
        self._tools = tools
        self._thinks = reasoning
        self._state = "reasoning" if opened else "text"
        self._before_calls = self._state
        self._pending = ""
        self._block = ""  # raw markup since CALLS_OPEN, for when it is malformed
        self._found: list[ToolCall] = []
        self._blanks = {"reasoning": "", "text": ""}  # held back: may be leading or trailing
        self._said = {"reasoning": False, "text": False}

    def feed(self, piece: str) -> Delta:
        """Take the next piece of output, of any length."""
        self._pending += piece
        delta = Delta()
        while True:
            marker, where = self._next_marker()
            if marker is None:
                keep = self._held_back()
                split = len(self._pending) - keep
                ready, self._pending = self._pending[:split], self._pending[split:]
                return delta + self._emit(ready)
            before = self._pending[:where]
            self._pending = self._pending[where + len(marker) :]
            delta += self._emit(before) + self._enter(marker)

    def finish(self) -> Delta:
        """The output has ended; give what was held back."""
        rest, self._pending = self._pending, ""
        delta = self._emit(rest)
        if self._state == "calls":
            # Calls without their end marker are calls; a broken one is text.
            calls, self._found = tuple(self._found), []
            left, self._block = self._block, ""
            self._state = self._before_calls
            delta += Delta(tool_calls=calls) if not left else Delta(tool_calls=calls, text=left)
        return delta

    def _markers(self) -> tuple[str, ...]:
        if self._state == "calls":
            return (CALL_CLOSE, CALLS_CLOSE)
        calls = (CALLS_OPEN,) if self._tools else ()
        if self._state == "reasoning":
            return (THINK_CLOSE, *calls)
        # Only at the beginning can the model open its reasoning.
        opening = (THINK_OPEN,) if self._thinks and not any(self._said.values()) else ()
        return (*opening, *calls)

    def _next_marker(self) -> tuple[str | None, int]:
        found = [(self._pending.find(m), m) for m in self._markers()]
        found = [(where, marker) for where, marker in found if where >= 0]
        if not found:
            return None, -1
        where, marker = min(found)
        if marker == THINK_OPEN and self._pending[:where].strip():
            return None, -1  # mentioned in the middle of text
        return marker, where

    def _held_back(self) -> int:
        """Length of the longest end of the pending text that begins a marker."""
        longest = 0
        for marker in self._markers():
            for size in range(min(len(marker) - 1, len(self._pending)), longest, -1):
                if self._pending.endswith(marker[:size]):
                    longest = size
                    break
        return longest

    def _emit(self, content: str) -> Delta:
        if self._state == "calls":
            self._block += content
            return Delta()
        said, blanks = self._said[self._state], self._blanks[self._state]
        content = blanks + content if said else content.lstrip()
        body = content.rstrip() if self._state == "reasoning" else content
        self._blanks[self._state] = content[len(body) :] if body or said else ""
        self._said[self._state] = said or bool(body)
        return Delta(reasoning=body) if self._state == "reasoning" else Delta(text=body)

    def _enter(self, marker: str) -> Delta:
        if marker == THINK_OPEN:
            self._state = "reasoning"
        elif marker == THINK_CLOSE:
            self._state = "text"
        elif marker == CALLS_OPEN:
            self._before_calls, self._state = self._state, "calls"
        elif marker == CALL_CLOSE:
            return self._close_call()
        elif marker == CALLS_CLOSE:
            return self._close_calls()
        return Delta()

    def _close_call(self) -> Delta:
        raw = self._block
        self._block = ""
        _, opened, body = raw.partition(CALL_OPEN)
        call = self._tools.read(body) if opened and self._tools else None
        if call is None:
            return Delta(text=raw + CALL_CLOSE)
        self._found.append(call)
        return Delta()

    def _close_calls(self) -> Delta:
        left, self._block = self._block.strip(), ""
        calls, self._found = tuple(self._found), []
        self._state = self._before_calls
        return Delta(text=left, tool_calls=calls)
