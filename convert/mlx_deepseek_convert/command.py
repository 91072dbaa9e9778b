"""`mlx-deepseek convert`: plan, show, run."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
    parser.add_argument("source", metavar="SOURCE", help="checkpoint folder or hub id")
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
    from mlx_deepseek_convert import plan
    from mlx_deepseek_convert.write import as_json, execute

    planned = plan(args.source, args.recipe)
    name = str(args.source).rstrip("/").split("/")[-1]
    target = Path(args.target or f"{Path(name).absolute().name}-{args.recipe}")
    if args.dry_run:
        summary = {**planned.summary(), "target": str(target)}
        print(json.dumps(summary, indent=2) if args.json else _plan_text(summary))  # noqa: T201
        return 0
    with _progress_bar(f"{name} -> {args.recipe}") as progress:
        report = execute(planned, target, overwrite=args.overwrite, progress=progress)
    text = json.dumps(as_json(report), indent=2) if args.json else _report_text(asdict(report))
    print(text)  # noqa: T201
    return 0


@contextmanager
def _progress_bar(title: str) -> Iterator[Any]:
    """A function (bytes written, bytes in total) that draws a bar on stderr, if a terminal."""
    if not sys.stderr.isatty():
        yield None
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
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
