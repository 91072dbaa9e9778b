"""`mlx-deepseek read`: pictures and PDFs to Markdown, figures, boxes and annotated pages."""

import argparse
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_deepseek.commands.options import add_command, add_hosts, add_loading, hosting, loading
from mlx_deepseek.commands.terminal import printable, progress_bar

if TYPE_CHECKING:
    from mlx_deepseek.documents.read import ReadPage
    from mlx_deepseek.documents.write import DocumentFolder
    from mlx_deepseek.engine import Engine

SUMMARY = "read pictures and PDFs: Markdown with figures, boxes as JSON, annotated pages"
DEFAULT_MODEL = "nano-ocr"
FOR_DOCUMENTS = "deepseek-ai/DeepSeek-OCR"
DEFAULT_BATCH = 4

Folders = dict[str, "DocumentFolder"]


def register(subparsers: Any) -> None:
    """Add the `read` sub-command."""
    parser = add_command(subparsers, "read", SUMMARY)
    parser.add_argument("files", metavar="FILE", nargs="+", help="a picture or a PDF")
    parser.add_argument(
        "-o", "--output", metavar="DIR", required=True, help="a folder for each document goes here"
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="a folder, a hub id or a name that `models` lists (nano-ocr, which is built in and "
        f"reads a few words; for documents: {FOR_DOCUMENTS})",
    )
    add_loading(parser)
    add_hosts(parser)
    parser.add_argument(
        "--mode", help="how pages are cut: tiny, small, base, large or gundam (DeepSeek-OCR)"
    )
    parser.add_argument(
        "--prompt",
        default="markdown",
        help='markdown, ocr, free, figure, describe, "locate: PHRASE", or any text (markdown)',
    )
    parser.add_argument(
        "--batch", type=int, default=DEFAULT_BATCH, metavar="N", help="pages read at a time (4)"
    )
    parser.add_argument("--max-tokens", type=int, metavar="N", help="longest answer for a page")
    parser.add_argument("--password", help="opens encrypted PDFs")
    parser.add_argument("--json", action="store_true", help="print one JSON array at the end")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Read all pages that an earlier run has not; 1 if some could not be read."""
    from mlx_deepseek.documents.instructions import instruction
    from mlx_deepseek.engine import load

    warnings.filterwarnings("ignore", module="PIL")  # of what it repairs
    prompt = instruction(args.prompt)
    if args.model == DEFAULT_MODEL:
        sys.stderr.write(
            f"nano-ocr reads only a few printed words. For documents: --model {FOR_DOCUMENTS}\n"
        )
    with progress_bar() as progress:
        engine = load(args.model, **loading(args), **hosting(args), progress=progress)
    # What the model refuses leaves no folders behind.
    pages = engine.read(
        *dict.fromkeys(args.files),
        batch=args.batch,
        max_tokens=args.max_tokens,
        prompt=prompt,
        mode=args.mode,
        password=args.password,
        wanted=lambda source, number: not folders[str(source)].is_done(number),
    )
    folders = folders_for(args, engine, prompt)
    return report(write(pages, folders), as_json=args.json)


def folders_for(args: argparse.Namespace, engine: "Engine", prompt: str) -> Folders:
    """Each file's folder; a file that is named twice is read once."""
    from mlx_deepseek.documents.job_folder import job_for
    from mlx_deepseek.documents.write import DocumentFolder

    root = Path(args.output).expanduser()
    return {
        file: DocumentFolder(root, job_for(file, engine.name, prompt, args.mode))
        for file in dict.fromkeys(args.files)
    }


def write(pages: "Iterable[ReadPage]", folders: Folders) -> list[dict[str, Any]]:
    """Write pages as they end; what each document's JSON says, and its folder.

    What is read so far is joined, too, when something stops this.
    """
    try:
        with page_bars() as show:
            for page in pages:
                if page.finish:
                    folders[page.name].add(page)
                show(page)
    finally:
        wholes = [folder.finish() | {"folder": str(folder.path)} for folder in folders.values()]
    return wholes


def report(wholes: list[dict[str, Any]], *, as_json: bool) -> int:
    """Print folders on standard output, errors on the other; the exit status."""
    if as_json:
        sys.stdout.write(json.dumps(wholes, ensure_ascii=False) + "\n")
    failed = 0
    for whole in wholes:
        errors = [page["error"] for page in whole["pages"] if "error" in page]
        for error in errors:
            sys.stderr.write(f"mlx-deepseek: {printable(error)}\n")
        failed += len(errors)
        if not as_json:
            sys.stdout.write(f"{printable(summary(whole, len(errors)))}\n")
    return 1 if failed else 0


def summary(whole: dict[str, Any], errors: int) -> str:
    """A line about a document."""
    read = [page for page in whole["pages"] if "error" not in page]
    facts = [f"{len(read)} of {whole['count']} pages read"]
    vision = sum(page["vision_tokens"] for page in read)
    if vision:
        text = sum(page["text_tokens"] for page in read)
        facts.append(f"{text:,} text tokens, {text / vision:.1f} for each vision token")
    cut = sum(page["finish"] == "length" for page in read)
    facts += [f"{cut} cut off"] * bool(cut) + [f"{errors} could not be read"] * bool(errors)
    return f"{Path(whole['folder']) / 'document.md'}: {'; '.join(facts)}"


@contextmanager
def page_bars() -> "Iterator[Any]":
    """A function that shows a page's state on stderr; it does nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda page: None
        return
    from rich import progress as bars
    from rich.console import Console
    from rich.markup import escape

    columns = (
        bars.SpinnerColumn(),
        bars.TextColumn("{task.description}"),
        bars.TextColumn("{task.completed} tokens, {task.fields[speed]:.1f} per second"),
        bars.TimeElapsedColumn(),
    )
    with bars.Progress(
        *columns, console=Console(stderr=True, highlight=False), transient=True
    ) as shown:
        tasks: dict[tuple[str, int], bars.TaskID] = {}

        def show(page: "ReadPage") -> None:
            key, name = (page.name, page.number), escape(printable(Path(page.name).name))
            if key not in tasks and not page.finish:
                tasks[key] = shown.add_task(
                    f"{name} {page.number}/{page.count}", speed=0.0, total=None
                )
            if key in tasks:
                cost = page.cost
                shown.update(
                    tasks[key], completed=cost.completion_tokens, speed=cost.generation_tps
                )
            if page.finish:
                if key in tasks:
                    shown.remove_task(tasks.pop(key))
                shown.console.print(f"{name} {page.number}/{page.count}: {outcome(page)}")

        yield show


def outcome(page: "ReadPage") -> str:
    """What became of a page, in a few words."""
    if page.error:
        return "could not be read"
    cut = "cut off, " if page.finish == "length" else ""
    cost = page.cost
    return f"{cut}{cost.text_tokens:,} text tokens, {cost.compression:.1f} for each vision token"
