"""Progress of work that is counted in steps, such as layers; silent without a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mlx_deepseek.progress import Progress


@contextmanager
def step_bars() -> Iterator[Progress]:
    """A function (stage, steps done, steps in total) that draws bars on stderr, if a terminal."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        tasks: dict[str, bars.TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = shown.add_task(stage, total=None)
            shown.update(tasks[stage], completed=done, total=total or None)

        yield report
