"""`mlx-deepseek convert`: plan, show, run."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlx_deepseek.progress import Progress
from mlx_deepseek_convert.recipes import RECIPES


def register(subparsers: Any) -> None:
    """Add the `convert` sub-command."""
    recipes = "\n".join(f"  {name:6} {recipe.summary}" for name, recipe in RECIPES.items())
    parser = subparsers.add_parser(
        "convert",
        help="convert a Hugging Face checkpoint to a quantized MLX one",
        description="Convert a Hugging Face checkpoint (BF16 or FP8) to MLX.",
        epilog=f"recipes:\n{recipes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help='checkpoint folder, hub id or "nano"')
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="new folder (default: SOURCE's name-RECIPE)"
    )
    parser.add_argument("--recipe", default="4bit", choices=list(RECIPES), metavar="RECIPE")
    parser.add_argument("--dry-run", action="store_true", help="show the plan, write nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier conversion")
    parser.add_argument("--json", action="store_true", help="print plan or report as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Plan, and unless --dry-run convert; DeepSeekError is the caller's to print."""
    from mlx_deepseek_convert.detect import find_source
    from mlx_deepseek_convert.planner import make_plan
    from mlx_deepseek_convert.write import as_json, execute

    name = Path(str(args.source).rstrip("/").split("/")[-1]).absolute().name
    target = Path(args.target or f"{name}-{args.recipe}")
    with _progress_bar() as report_progress:
        planned = make_plan(find_source(args.source), args.recipe)
        if args.dry_run:
            summary = {**planned.summary(), "target": str(target)}
            _say(json.dumps(summary, indent=2) if args.json else _plan_text(summary))
            return 0
        report = execute(
            planned,
            target,
            overwrite=args.overwrite,
            progress=lambda done, total: report_progress("convert", done, total),
        )
    _say(json.dumps(as_json(report), indent=2) if args.json else _report_text(asdict(report)))
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    """A function (stage, bytes done, bytes in total) that draws bars on stderr, if a terminal."""
    if not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    tasks: dict[str, rich_progress.TaskID] = {}
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=None)
            bar.update(tasks[stage], completed=done, total=total or None)

        yield report


def _plan_text(plan: dict[str, Any]) -> str:
    return "\n".join(
        (
            f"{plan['source']} ({plan['model_type']}) -> {plan['target']}, {plan['recipe']}",
            f"  {plan['tensors_in']:,} tensors, {plan['bytes_in'] / 1e9:,.2f} GB",
            *_common(plan),
            *(f"  file {file['name']}: {file['bytes'] / 1e9:,.2f} GB" for file in plan["files"]),
            "Nothing was written (--dry-run).",
        )
    )


def _report_text(report: dict[str, Any]) -> str:
    speed = report["bytes_in"] / 1e9 / max(report["seconds"], 1e-9)
    return "\n".join(
        (
            f"{report['target']}: {report['recipe']}",
            *_common(report),
            f"  {report['seconds']:.1f} s, {speed:.2f} GB/s read",
        )
    )


def _common(numbers: dict[str, Any]) -> list[str]:
    return [
        f"  {numbers['tensors_out']:,} tensors, {numbers['bytes_out'] / 1e9:,.2f} GB, "
        f"{numbers['parameters']:,} parameters at {numbers['bits_per_weight']:.2f} bits",
        *(f"    {how}: {count:,}" for how, count in numbers["groups"].items()),
    ]
