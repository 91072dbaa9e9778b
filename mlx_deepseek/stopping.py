"""Stop strings in a stream of text: found across pieces, never shown."""

from collections.abc import Iterable


class StopFilter:
    """Passes text on, except a stop string and what may still become one."""

    def __init__(self, stops: Iterable[str]):
        self.stops = tuple(stop for stop in stops if stop)
        self.held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """What may be shown now that `text` has come; afterwards look at `stopped`."""
        if self.stopped:
            return ""
        pending = self.held + text
        ends = [at for stop in self.stops if (at := pending.find(stop)) >= 0]
        if ends:
            self.stopped, self.held = True, ""
            return pending[: min(ends)]
        keep = max((overlap(pending, stop) for stop in self.stops), default=0)
        self.held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep]

    def finish(self) -> str:
        """What was held back, when the stream ends without a stop string."""
        text, self.held = self.held, ""
        return text


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`, which `text` does not contain."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
