"""What commands show: answers as they come, progress bars; plain text without a terminal."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from mlx_deepseek.generation.results import Chunk, Usage
from mlx_deepseek.runtime.progress import Progress
from mlx_deepseek.runtime.units import in_words

DIM, NORMAL = "\x1b[2m", "\x1b[0m"


TITLES = {"download": "Downloading", "convert": "Converting", "load": "Loading"}


# Control characters that a model's text must not send to a terminal; tab and newline may pass.
CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


class ChunkPrinter:
    """Writes chunks to a stream: thinking dimmed in a terminal, between tags elsewhere."""

    def __init__(self, stream: TextIO, show_thinking: bool = True):
        self.stream = stream
        self.show_thinking = show_thinking
        self.colours = stream.isatty()
        self.thinking = False

    def write(self, chunks: "Iterable[Chunk]") -> "Chunk | None":
        """Write all chunks as they come; returns the last one."""
        last = None
        try:
            for chunk in chunks:
                last = chunk
                self._reasoning(chunk.reasoning)
                self._text(chunk.text)
                for call in chunk.tool_calls:
                    self._text(f"\n[{call.name} {call.arguments}]\n")
                self.stream.flush()
        finally:
            self._close_thinking()
            self.stream.write("\n")
            self.stream.flush()
        return last

    def _reasoning(self, text: str) -> None:
        if text and self.show_thinking:
            if not self.thinking:
                self.thinking = True
                self.stream.write(DIM if self.colours else "<think>\n")
            self.stream.write(printable(text))

    def _text(self, text: str) -> None:
        if text:
            self._close_thinking()
            self.stream.write(printable(text))

    def _close_thinking(self) -> None:
        if self.thinking:
            self.thinking = False
            self.stream.write(f"{NORMAL}\n\n" if self.colours else "\n</think>\n\n")


def printable(text: str) -> str:
    """Text without control characters, which could steer a terminal."""
    return text.translate(CONTROLS)


def summary(usage: "Usage", window: int) -> str:
    """A line about a generation, and one about what was read for it."""
    used = usage.prompt_tokens + usage.completion_tokens
    line = (
        f"{usage.completion_tokens} tokens, {usage.generation_tps:.1f} per second; "
        f"context {used:,} of {window:,}"
    )
    if usage.expert_hit_rate is None:
        return line
    return (
        f"{line}\n{usage.expert_hit_rate:.0%} of the experts found in memory, "
        f"{in_words(usage.disk_bytes_per_token)} read per token, "
        f"{usage.waiting_share:.0%} of the time waiting for the disk"
    )


@contextmanager
def progress_bar() -> "Iterator[Progress | None]":
    """A progress function that draws a bar on stderr; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with byte_bars(transient=True) as report:
        yield report


@contextmanager
def byte_bars(*, transient: bool = False) -> Iterator[Progress]:
    """A function (stage, bytes done, bytes in total) that draws bars on stderr, if a terminal."""
    from rich import progress as bars

    with _bars(bars.DownloadColumn(), bars.TransferSpeedColumn(), transient=transient) as report:
        yield report


@contextmanager
def step_bars() -> Iterator[Progress]:
    """A function (stage, steps done, steps in total) that draws bars on stderr, if a terminal."""
    from rich import progress as bars

    with _bars(bars.MofNCompleteColumn(), transient=True) as report:
        yield report


@contextmanager
def _bars(*columns: Any, transient: bool) -> Iterator[Progress]:
    """Bars with these columns between the bar itself and the time that is left."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich import progress as bars
    from rich.console import Console

    shown = bars.Progress(
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        *columns,
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=transient,
    )
    tasks: dict[str, bars.TaskID] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            title = TITLES.get(stage, stage)
            tasks[stage] = shown.add_task(title, total=None, completed=done)
        # weights are read in one go, of which there is nothing to show but that it lasts
        known = total if stage != "load" else 0
        shown.update(tasks[stage], completed=done, total=known or None)

    with shown:
        yield report
