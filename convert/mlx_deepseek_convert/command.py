"""`mlx-deepseek convert`: plan, show, run, upload."""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_deepseek.catalog.embedded import FOLDERS
from mlx_deepseek.checkpoint.converter import DEFAULT_RECIPE
from mlx_deepseek.runtime.progress import Progress
from mlx_deepseek.runtime.units import in_words
from mlx_deepseek_convert.planning.recipes import RECIPES

if TYPE_CHECKING:
    from mlx_deepseek_convert.planning.plan import Plan
    from mlx_deepseek_convert.quality.report import Wanted
    from mlx_deepseek_convert.write.run import Report


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
    parser.add_argument(
        "--recipe",
        choices=list(RECIPES),
        metavar="RECIPE",
        help=f"how to store weights, see below (default: {DEFAULT_RECIPE})",
    )
    parser.add_argument(
        "--fit", metavar="SIZE", help="instead of a recipe: choose bits for so many bytes, as 96GB"
    )
    parser.add_argument(
        "--calibrate",
        nargs="?",
        const="",
        metavar="TEXT",
        help="round for the outputs on a text file (default: nano's exercises, or a sample)",
    )
    parser.add_argument(
        "--no-feedback", action="store_true", help="calibrate scales only, without GPTQ's feedback"
    )
    parser.add_argument(
        "--revision", metavar="REV", help="branch, tag or commit on the hub (default: main)"
    )
    parser.add_argument("--adapter", metavar="FOLDER", help="LoRA adapter to add to the weights")
    parser.add_argument(
        "--export", action="store_true", help="an MLX checkpoint back to the release's layout, bf16"
    )
    parser.add_argument(
        "--allow-nonfinite", action="store_true", help="convert NaN and infinity too, not refuse"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan, write nothing")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier conversion")
    parser.add_argument("--upload", metavar="REPO", help="then upload to this hub repository")
    parser.add_argument("--private", action="store_true", help="make that repository private")
    parser.add_argument("--json", action="store_true", help="print plan or report as JSON")
    parser.set_defaults(func=run, usage_error=parser.error)


# Options that another one would silently leave without effect.
EXCLUDES = (
    ("fit", "recipe"),
    ("export", "recipe"),
    ("export", "fit"),
    ("export", "adapter"),
    ("export", "calibrate"),
    ("dry_run", "upload"),
)
NEEDS = (("no_feedback", "calibrate"), ("private", "upload"))


def check_usage(args: argparse.Namespace) -> None:
    """End as argparse does at options that do not go together."""

    def given(option: str) -> bool:
        return getattr(args, option) not in (None, False)

    def flag(option: str) -> str:
        return f"--{option.replace('_', '-')}"

    for option, other in EXCLUDES:
        if given(option) and given(other):
            args.usage_error(f"{flag(option)} and {flag(other)} do not go together")
    for option, other in NEEDS:
        if given(option) and not given(other):
            args.usage_error(f"{flag(option)} needs {flag(other)}")
    folder = Path(args.source).expanduser().is_dir() or args.source in FOLDERS
    if args.revision and folder:
        args.usage_error("--revision is of repositories on the hub; SOURCE is none")


def run(args: argparse.Namespace) -> int:
    """Plan, and unless --dry-run convert; DeepSeekError is the caller's to print."""
    from mlx_deepseek.commands.terminal import byte_bars
    from mlx_deepseek_convert.upload import upload
    from mlx_deepseek_convert.write.preflight import predicted
    from mlx_deepseek_convert.write.run import as_json, execute

    check_usage(args)
    target = _target(args)
    planned = _planned(args, target)
    if args.dry_run:
        summary = {**planned.summary(), **predicted(planned), "target": str(target)}
        _say(json.dumps(summary, indent=2) if args.json else _plan_text(summary))
        return 0
    with byte_bars() as report_progress:
        if args.calibrate is not None:
            report = _calibrated(args, planned, target, report_progress)
        else:
            report = execute(
                planned,
                target,
                overwrite=args.overwrite,
                allow_nonfinite=args.allow_nonfinite,
                progress=lambda done, total: report_progress("convert", done, total),
            )
    result = {**as_json(report), "recipe_detail": planned.recipe_detail}
    _say(json.dumps(result, indent=2) if args.json else _report_text(result))
    if args.upload:
        address = upload(report.target, args.upload, private=args.private)
        sys.stderr.write(f"uploaded to {address}\n")
    return 0


def _target(args: argparse.Namespace) -> Path:
    name = Path(str(args.source).rstrip("/").split("/")[-1]).absolute().name
    recipe = "release" if args.export else args.recipe or DEFAULT_RECIPE
    return Path(args.target or f"{name}-{f'fit-{args.fit}' if args.fit else recipe}")


def _calibrated(
    args: argparse.Namespace, planned: "Plan", target: Path, progress: Progress
) -> "Report":
    from mlx_deepseek_convert.quality.calibrate import convert_calibrated

    return convert_calibrated(
        planned,
        target,
        _text(args),
        feedback=not args.no_feedback,
        overwrite=args.overwrite,
        allow_nonfinite=args.allow_nonfinite,
        progress=progress,
    )


def _text(args: argparse.Namespace) -> "Wanted":
    from mlx_deepseek_convert.quality.report import Wanted

    return Wanted(text=Path(args.calibrate) if args.calibrate else None)


def _planned(args: argparse.Namespace, target: Path) -> "Plan":
    from mlx_deepseek_convert.mapping.adapters import merge_adapter
    from mlx_deepseek_convert.planning.plan import make_plan, plan_release
    from mlx_deepseek_convert.source.find import find_source
    from mlx_deepseek_convert.write.preflight import check_target

    source = find_source(args.source, args.revision)
    if args.calibrate is not None:
        from mlx_deepseek_convert.quality.calibrate import check_calibration

        check_calibration(source, with_adapter=bool(args.adapter))
    if args.adapter:
        source = merge_adapter(source, Path(args.adapter))
    if args.export:
        return plan_release(source)
    if not args.fit:
        return make_plan(source, args.recipe or DEFAULT_RECIPE)
    from mlx_deepseek.commands.terminal import step_bars
    from mlx_deepseek_convert.quality.budget import fitted

    if not args.dry_run:
        check_target(source, target, args.overwrite)  # measuring takes long
    with step_bars() as progress:
        recipe = fitted(source, args.fit, _text(args), partial(progress, "measure"))
    return make_plan(source, recipe)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


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
