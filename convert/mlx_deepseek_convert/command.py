"""`mlx-deepseek convert`: plan, show, run, upload."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_deepseek.progress import Progress
from mlx_deepseek_convert.amounts import in_words
from mlx_deepseek_convert.recipes import RECIPES

if TYPE_CHECKING:
    from mlx_deepseek_convert.planner import Plan
    from mlx_deepseek_convert.quality.report import Wanted
    from mlx_deepseek_convert.write import Report


def register(subparsers: Any) -> None:
    """Add the `convert` sub-command."""
    recipes = "\n".join(f"  {name:6} {recipe.summary}" for name, recipe in RECIPES.items())
    parser = subparsers.add_parser(
        "convert",
        help="convert a Hugging Face checkpoint to a quantized MLX one",
        description="Convert a Hugging Face checkpoint (BF16 or FP8) to MLX, an MLX one to fewer "
        "bits, or back. Interrupted, the same command goes on where it stopped.",
        epilog=f"recipes:\n{recipes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help='checkpoint folder, hub id or "nano"')
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="new folder (default: SOURCE's name-RECIPE)"
    )
    parser.add_argument("--recipe", default="4bit", choices=list(RECIPES), metavar="RECIPE")
    parser.add_argument("--fit", metavar="SIZE", help="choose bits for so many bytes, as 96GB")
    parser.add_argument(
        "--calibrate",
        nargs="?",
        const="",
        metavar="TEXT",
        help="round for the outputs on a text file (without one: nano's exercises, or a sample)",
    )
    parser.add_argument(
        "--no-feedback", action="store_true", help="calibrate scales only, without GPTQ's feedback"
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit on the hub")
    parser.add_argument("--adapter", metavar="FOLDER", help="LoRA adapter to add to the weights")
    parser.add_argument(
        "--export", action="store_true", help="an MLX checkpoint back to the release's layout, bf16"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan, write nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier conversion")
    parser.add_argument("--upload", metavar="REPO", help="then upload to this hub repository")
    parser.add_argument("--private", action="store_true", help="make that repository private")
    parser.add_argument("--json", action="store_true", help="print plan or report as JSON")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Plan, and unless --dry-run convert; DeepSeekError is the caller's to print."""
    from mlx_deepseek_convert.checks import predicted
    from mlx_deepseek_convert.upload import upload
    from mlx_deepseek_convert.write import as_json, execute

    name = Path(str(args.source).rstrip("/").split("/")[-1]).absolute().name
    planned = _planned(args)
    target = Path(args.target or f"{name}-{planned.recipe}")
    if args.dry_run:
        summary = {**planned.summary(), **predicted(planned), "target": str(target)}
        _say(json.dumps(summary, indent=2) if args.json else _plan_text(summary))
        return 0
    with _progress_bar() as report_progress:
        if args.calibrate is not None:
            report = _calibrated(args, planned, target, report_progress)
        else:
            report = execute(
                planned,
                target,
                overwrite=args.overwrite,
                progress=lambda done, total: report_progress("convert", done, total),
            )
    result = {**as_json(report), "recipe_detail": planned.recipe_detail}
    _say(json.dumps(result, indent=2) if args.json else _report_text(result))
    if args.upload:
        address = upload(report.target, args.upload, private=args.private)
        sys.stderr.write(f"uploaded to {address}\n")
    return 0


def _calibrated(
    args: argparse.Namespace, planned: "Plan", target: Path, progress: Progress
) -> "Report":
    from mlx_deepseek_convert.quality.calibrated import convert_calibrated

    return convert_calibrated(
        planned,
        target,
        _text(args),
        feedback=not args.no_feedback,
        overwrite=args.overwrite,
        progress=progress,
    )


def _text(args: argparse.Namespace) -> "Wanted":
    from mlx_deepseek_convert.quality.report import Wanted

    return Wanted(text=Path(args.calibrate) if args.calibrate else None)


def _planned(args: argparse.Namespace) -> "Plan":
    from mlx_deepseek_convert.adapters import merge_adapter
    from mlx_deepseek_convert.detect import find_source
    from mlx_deepseek_convert.planner import make_plan, plan_release

    source = find_source(args.source, args.revision)
    if args.adapter:
        source = merge_adapter(source, Path(args.adapter))
    if args.export:
        return plan_release(source)
    if not args.fit:
        return make_plan(source, args.recipe)
    from mlx_deepseek_convert.quality.bars import step_bars
    from mlx_deepseek_convert.quality.budget import fitted

    with step_bars() as progress:
        recipe = fitted(source, args.fit, _text(args), partial(progress, "measure"))
    return make_plan(source, recipe)


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
                tasks[stage] = bar.add_task(stage, total=None, completed=done)
            bar.update(tasks[stage], completed=done, total=total or None)

        yield report


def _plan_text(plan: dict[str, Any]) -> str:
    return "\n".join(
        (
            f"{plan['source']} ({plan['model_type']}) -> {plan['target']}, {plan['recipe']}",
            f"  {plan['recipe_detail']}",
            f"  {plan['tensors_in']:,} tensors, {in_words(plan['bytes_in'])}",
            *_common(plan),
            *(f"  file {file['name']}: {in_words(file['bytes'])}" for file in plan["files"]),
            f"  takes {in_words(plan['disk_bytes'])} of disk, "
            f"at most {in_words(plan['peak_bytes'])} of memory",
            "Nothing was written (--dry-run).",
        )
    )


def _report_text(report: dict[str, Any]) -> str:
    resumed = report["bytes_resumed"] / report["bytes_out"]
    return "\n".join(
        (
            f"{report['target']}: {report['recipe']}",
            f"  {report['recipe_detail']}",
            *_common(report),
            *(f"  {name}: sha256 {digest}" for name, digest in report["checksums"].items()),
            f"  {report['seconds']:.1f} s, {report['bytes_read_per_second'] / 1e9:.2f} GB/s read"
            + (f"; {resumed:.0%} was done before" if resumed else ""),
        )
    )


def _common(numbers: dict[str, Any]) -> list[str]:
    exact = numbers["exact_parameters"]
    return [
        f"  {numbers['tensors_out']:,} tensors, {in_words(numbers['bytes_out'])}, "
        f"{numbers['parameters']:,} parameters at {numbers['bits_per_weight']:.2f} bits",
        *(f"    {how}: {count:,}" for how, count in numbers["groups"].items()),
        *([f"    with the source's own codes: {exact:,}"] if exact else []),
    ]
