"""Tool calls as they are written: names and arguments come out piece by piece.

A markup's script is a generator over a `CallSource`. It yields what is clear, and None where it
needs more text.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class CallPiece:
    """`name` begins a call; `arguments` are more of the JSON of the call that was begun last."""

    name: str = ""
    arguments: str = ""


# Pieces of calls, and text between them that belongs to none.
Step = CallPiece | str | None
Script = Generator[Step, None, None]


class CallSource:
    """Text that arrives in pieces, as a script reads it."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False

    def ready(self, *markers: str) -> tuple[str, str]:
        """What comes before the first of `markers`, and it; "" where it may still come."""
        found = [(at, marker) for marker in markers if (at := self.text.find(marker)) >= 0]
        if found:
            at, marker = min(found)
            return self.text[:at], marker
        held = 0 if self.ended else beginning(self.text, markers)
        return self.text[: len(self.text) - held], ""

    def drop(self, size: int) -> None:
        """Take so many characters away."""
        self.text = self.text[size:]

    def take(self, *markers: str) -> Generator[Step, None, tuple[str, str]]:
        """All before the first of `markers`, and it, both taken away; it is "" at the end."""
        while True:
            before, marker = self.ready(*markers)
            if marker or self.ended:
                self.drop(len(before) + len(marker))
                return before, marker
            yield None

    def stripped(self, marker: str) -> Generator[Step, None, str]:
        """What is there after blanks, which are taken away: some text, or "" before `marker`."""
        while True:
            before, found = self.ready(marker)
            self.drop(len(before) - len(before.lstrip()))
            if before.strip() or found or self.ended:
                return before.lstrip()
            yield None

    def json_object(self, close: str) -> Script:
        """Pieces of the JSON object that begins here; it may end early, at `close`."""
        scanner = ObjectScanner()
        while True:
            before, found = self.ready(close)
            size = scanner.feed(before)
            self.drop(size)
            if size:
                yield CallPiece(arguments=before[:size])
            if scanner.done or found or self.ended:
                return
            yield None


class ObjectScanner:
    """Finds the end of a JSON object."""

    def __init__(self) -> None:
        self.done = False
        self._depth = 0
        self._quoted = self._escaped = False

    def feed(self, text: str) -> int:
        """How many of these characters belong to the object."""
        for place, letter in enumerate(text):
            if self._quoted:
                self._quoted = self._escaped or letter != '"'
                self._escaped = not self._escaped and letter == "\\"
            elif letter == '"':
                self._quoted = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    self.done = True
                    return place + 1
        return len(text)


class CallReader:
    """Runs a markup's script over a block of calls."""

    def __init__(self, script: Callable[[CallSource], Script]):
        self.begun = False
        self._source = CallSource()
        self._steps = script(self._source)

    def feed(self, text: str, last: bool = False) -> tuple[tuple[CallPiece, ...], str]:
        """The pieces that more of the block makes clear, and what belongs to no call."""
        self._source.text += text
        self._source.ended = last
        pieces: list[CallPiece] = []
        rest: list[str] = []
        for step in self._steps:
            if step is None:
                break
            if isinstance(step, CallPiece):
                pieces.append(step)
            else:
                rest.append(step)
        self.begun = self.begun or bool(pieces)
        return tuple(pieces), "".join(rest)


def beginning(text: str, markers: Iterable[str]) -> int:
    """Length of the longest end of `text` that begins one of `markers`, which it has not whole."""
    longest = 0
    for marker in markers:
        for size in range(min(len(marker) - 1, len(text)), longest, -1):
            if text.endswith(marker[:size]):
                longest = size
                break
    return longest
