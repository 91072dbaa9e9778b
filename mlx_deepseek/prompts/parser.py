"""Reads an answer as it streams in: reasoning, text and tool calls, cut anywhere."""

from dataclasses import dataclass

from mlx_deepseek.prompts.markers import THINK_CLOSE, THINK_OPEN
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

    Nothing is lost: markup that turns out malformed comes out where it stood, markers included.
    With `trim`, whitespace around the reasoning and before the text is the format's, and left out.
    """

    def __init__(
        self, *, reasoning: bool, opened: bool, tools: ToolMarkup | None, trim: bool = True
    ):
        self._tools = tools
        self._thinks = reasoning
        self._trim = trim
        self._state = "reasoning" if opened else "text"
        self._before_calls = self._state
        self._pending = ""
        self._calls_open = ""  # the marker that began the calls
        self._block = ""  # raw markup since then
        self._blanks = {"reasoning": "", "text": ""}  # held back: may be leading or trailing
        self._said = {"reasoning": False, "text": False}

    @property
    def reasoning(self) -> bool:
        """Whether what comes next is reasoning, as far as one can tell."""
        return self._state == "reasoning"

    def resume(self, begun: str) -> None:
        """Begin after output that was read before; only what is new comes out."""
        self.feed(begun)
        self._pending = ""
        self._blanks = {"reasoning": "", "text": ""}

    def feed(self, piece: str) -> Delta:
        """Take the next piece of output, of any length."""
        self._pending += piece
        delta = Delta()
        while True:
            marker, where = self._next_marker()
            if marker is None:
                split = len(self._pending) - self._held_back()
                ready, self._pending = self._pending[:split], self._pending[split:]
                return delta + self._emit(ready)
            before = self._pending[:where]
            self._pending = self._pending[where + len(marker) :]
            delta += self._emit(before) + self._enter(marker)

    def finish(self) -> Delta:
        """The output has ended; give what was held back."""
        rest, self._pending = self._pending, ""
        delta = self._emit(rest)
        return delta + self._end_calls("") if self._state == "calls" else delta

    def _markers(self) -> tuple[str, ...]:
        if self._state == "calls":
            assert self._tools is not None
            return (self._tools.closes,)
        calls = self._tools.opens if self._tools else ()
        if self._state == "reasoning":
            return (THINK_CLOSE, *calls)
        # Only at the beginning can the model open its reasoning.
        opening = (THINK_OPEN,) if self._thinks and not any(self._said.values()) else ()
        return (*opening, *calls)

    def _next_marker(self) -> tuple[str | None, int]:
        """The first marker that means something where it stands."""
        found = []
        for marker in self._markers():
            where = self._pending.find(marker)
            # Text before <think> makes it a mention, as it would be had the text come alone.
            if where >= 0 and (marker != THINK_OPEN or not self._pending[:where].strip()):
                found.append((where, marker))
        where, marker = min(found, default=(-1, None))
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
        else:
            self._calls_open = marker
            self._before_calls, self._state = self._state, "calls"
        return Delta()

    def _end_calls(self, close: str) -> Delta:
        """Leave the block; a missing end marker does not spoil the calls that are complete."""
        block, self._block = self._block, ""
        self._state = self._before_calls
        assert self._tools is not None
        calls, rest = self._tools.read_all(block)
        left = rest if calls else self._calls_open + block + close
        return self._emit(left) + Delta(tool_calls=calls)
