"""`mlx-deepseek models`: the released checkpoints, and which of them this machine can hold."""

import argparse
import json
from typing import Any

from mlx_deepseek.commands.options import add_command

SUMMARY = "list DeepSeek's released models with sizes, licences and what fits this machine"

OWNER = "deepseek-ai"  # not shown: its models are found without it
NAME_WIDTH, LICENCE_WIDTH = 31, 40
WIDE, FILE_WIDTH = 120, 160  # columns


def register(subparsers: Any) -> None:
    """Add the `models` sub-command."""
    parser = add_command(subparsers, "models", SUMMARY)
    parser.add_argument(
        "filter", metavar="FILTER", nargs="?", default="", help="part of a name, family or variant"
    )
    parser.add_argument("--all", action="store_true", help="also those this version cannot run")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Print the catalog's entries that match; 1 if none does."""
    entries = listed(args.filter, include_all=args.all)
    if args.json:
        print(json.dumps(entries, indent=2))  # noqa: T201
        return 0 if entries else 1
    from rich.console import Console

    if not entries:
        more = "" if args.all else " that this version runs; --all lists the others, too"
        Console(stderr=True).print(f"No model matches {args.filter!r}{more}.", highlight=False)
        return 1
    console = Console()
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(table(entries, wide=console.width >= WIDE))
    return 0


def listed(part: str, *, include_all: bool = False) -> list[dict[str, Any]]:
    """The catalog's entries with `part` in repo, family or variant; sizes in bytes."""
    from mlx_deepseek import catalog
    from mlx_deepseek.checkpoint.local_models import models_here
    from mlx_deepseek.models import known
    from mlx_deepseek.runtime import memory

    machine = memory.machine_memory_bytes()
    cached = {repo.lower() for repo in models_here()}
    found = []
    for entry in catalog.entries():
        text = " ".join((entry.repo, entry.family, entry.variant)).lower()
        supported = known(entry.config)
        if part.lower() not in text or not (supported or include_all):
            continue
        nbytes = memory.estimate_bytes(entry.params_total)
        found.append(
            {
                "repo": entry.repo,
                "family": entry.family,
                "variant": entry.variant,
                "model_type": entry.model_type,
                "supported": supported,
                "parameters": entry.params_total,
                "active_parameters": entry.params_active,
                "context_length": entry.context_length,
                "license": entry.license,
                "estimated_bytes": nbytes,
                "fits": memory.fits(nbytes, 1, machine, 1).fits,
                "cached": entry.repo.lower() in cached,
            }
        )
    return found


def table(entries: list[dict[str, Any]], *, wide: bool) -> Any:
    """A rich table; sizes are estimates for the 4-bit recipe. `wide` adds family and licence."""
    from rich import box
    from rich.table import Table

    from mlx_deepseek.commands.info import number, size

    result = Table(
        box=box.SIMPLE,
        caption="Active: parameters per token. Size: estimate for recipe 4bit. Fits: this machine.",
    )
    result.add_column("Model", no_wrap=True, min_width=NAME_WIDTH)
    for title in ("Params", "Active", "Context", "Size", "Fits"):
        result.add_column(title, justify="right", no_wrap=True)
    if wide:
        result.add_column("Family", no_wrap=True, overflow="ellipsis")
        result.add_column("Licence", no_wrap=True, overflow="ellipsis", max_width=LICENCE_WIDTH)
    for entry in entries:
        active, context = entry["active_parameters"], entry["context_length"]
        fits = "yes" if entry["fits"] else "no"
        rest = (entry["family"], entry["license"] or "?")
        result.add_row(
            entry["repo"].removeprefix(f"{OWNER}/"),
            number(entry["parameters"]),
            number(active) if active else "?",
            f"{context // 1024}K" if context else "?",
            size(entry["estimated_bytes"]),
            fits if entry["supported"] else "-",
            *(rest if wide else ()),
        )
    return result
