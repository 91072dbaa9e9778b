"""`mlx-deepseek draw`: pictures from words, as PNG files that say what made them."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_deepseek.commands.options import add_command, add_hosts, add_loading, hosting, loading
from mlx_deepseek.commands.terminal import printable, progress_bar

if TYPE_CHECKING:
    from mlx_deepseek.engine import Engine
    from mlx_deepseek.image_generation import DrawProgress
    from mlx_deepseek.image_generation.jobs import DrawJob

SUMMARY = "draw pictures of a text: Janus-Pro, Janus and JanusFlow"


def register(subparsers: Any) -> None:
    """Add the `draw` sub-command."""
    parser = add_command(subparsers, "draw", SUMMARY)
    parser.add_argument(
        "model", metavar="MODEL", help="a folder, a hub id or a name that `models` lists"
    )
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="what to draw")
    parser.add_argument(
        "-o", "--output", metavar="DIR", default=".", help="a folder for the pictures (this one)"
    )
    parser.add_argument("-n", type=int, default=1, metavar="N", help="how many pictures (1)")
    parser.add_argument(
        "--seed", type=int, help="the first picture's; each further one has the next"
    )
    group = parser.add_argument_group("how", "what is left out is as the authors recommend")
    group.add_argument("--guidance", type=float, metavar="X", help="how much the prompt counts")
    group.add_argument(
        "--temperature", type=float, metavar="T", help="Janus; 0: the likeliest codes"
    )
    group.add_argument("--steps", type=int, metavar="N", help="JanusFlow; more are finer")
    group.add_argument(
        "--best-of", type=int, metavar="N", help="draw so many, keep those the model finds best"
    )
    parser.add_argument(
        "--prompts",
        metavar="FILE",
        help="prompts, one a line, or JSON objects with settings; a second run draws only what is "
        "not there (the first seed is 0 unless --seed says another)",
    )
    add_loading(parser)
    add_hosts(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON array at the end")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Draw all that is not there yet; the paths on standard output."""
    from mlx_deepseek.engine import load
    from mlx_deepseek.image_generation.jobs import records, save

    jobs = jobs_of(args)
    folder = Path(args.output).expanduser()
    with progress_bar() as progress:
        engine = load(args.model, **loading(args), **hosting(args), progress=progress)
    made: list[dict[str, Any]] = []
    for number, job in enumerate(jobs):
        paths = job.paths(folder, engine.name)
        if all(path.is_file() for path in paths):
            continue
        with drawing_bar(f"{number + 1}/{len(jobs)} {job.prompt}") as show:
            pictures = draw(engine, job, show)
        for picture, path in zip(pictures, paths, strict=True):
            save(picture, path)
        for record in records(pictures, paths):
            made.append(record)
            if not args.json:
                score = f"  {record['score']:.3f}" if "score" in record else ""
                sys.stdout.write(f"{record['path']}{score}\n")
    if args.json:
        sys.stdout.write(json.dumps(made, ensure_ascii=False) + "\n")
    elif not made:
        sys.stderr.write("Every picture is there already.\n")
    return 0


def jobs_of(args: argparse.Namespace) -> "list[DrawJob]":
    """What the command line asks for.

    Raises:
        PromptError: neither a prompt nor a file, both, or a file that cannot be read.
    """
    from mlx_deepseek.errors import PromptError
    from mlx_deepseek.image_generation.jobs import OPTIONS, DrawJob, read_jobs

    options = {name: getattr(args, name) for name in OPTIONS}
    options = {name: value for name, value in options.items() if value is not None}
    if (args.prompt is None) == (args.prompts is None):
        raise PromptError("Expected either a PROMPT or --prompts FILE.")
    if args.prompts is not None:
        return read_jobs(Path(args.prompts).expanduser(), {"seed": 0, **options})
    import secrets

    return [DrawJob(args.prompt, {"seed": secrets.randbelow(2**31), **options})]


def draw(engine: "Engine", job: "DrawJob", show: "Callable[[DrawProgress], None]") -> Any:
    """A job's pictures."""
    stream, last = engine.draw(job.prompt, **job.options), None
    for last in stream:
        show(last)
    assert last is not None
    return last.pictures


@contextmanager
def drawing_bar(title: str) -> "Iterator[Callable[[DrawProgress], None]]":
    """A function that shows progress on stderr; it does nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich import progress as bars
    from rich.console import Console
    from rich.markup import escape

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(escape(printable(title))[:60], total=None)
        yield lambda progress: shown.update(task, completed=progress.done, total=progress.total)
