"""`mlx-deepseek quality`: how far a converted model is from its source."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_deepseek_convert.quality.report import Measured


def register(subparsers: Any) -> None:
    """Add the `quality` sub-command."""
    parser = subparsers.add_parser(
        "quality",
        help="compare a converted model with its source",
        description="KL divergence, top-1 agreement and perplexity of a converted model against "
        "its source, in float32 and layer after layer: neither has to fit into memory.",
    )
    parser.add_argument("converted", metavar="CONVERTED", help="folder or hub id")
    parser.add_argument(
        "--source", required=True, metavar="SOURCE", help='what it was made of, or "nano"'
    )
    parser.add_argument("--text", type=Path, metavar="FILE", help="text to measure on, in UTF-8")
    parser.add_argument("--tokens", type=int, metavar="N", help="use the first N tokens (all)")
    parser.add_argument("--length", type=int, default=512, help="tokens per sequence (512)")
    parser.add_argument("--count", type=int, default=20, help="exercises per family (20)")
    parser.add_argument(
        "--save", action="store_true", help="keep the figures in CONVERTED for its model card"
    )
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print; DeepSeekError is the caller's to print."""
    from mlx_deepseek.commands.terminal import progress_bar, step_bars
    from mlx_deepseek_convert.quality.report import Wanted, measure
    from mlx_deepseek_convert.source.find import locate
    from mlx_deepseek_convert.upload import QUALITY
    from mlx_deepseek_convert.write.disk import write_json

    with progress_bar() as download:
        folders = locate(args.source, download), locate(args.converted, download)
    with step_bars() as progress:
        measured = measure(
            *folders,
            Wanted(args.text, args.tokens, args.length, args.count),
            progress=lambda done, total: progress("measure", done, total),
        )
    if args.save:
        write_json(folders[1] / QUALITY, figures(measured))
    text = json.dumps(asdict(measured), indent=2) if args.json else as_text(measured)
    sys.stdout.write(f"{text}\n")
    for warning in measured.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return 0


def as_text(measured: "Measured") -> str:
    """The figures, a line each."""
    return "\n".join(f"{name:32}{value:>12}" for name, value in figures(measured).items())


def figures(measured: "Measured") -> dict[str, str]:
    """What was measured, in words and rounded numbers."""
    quality = measured.quality
    return {
        "tokens scored": f"{quality.tokens:,}",
        "bits per weight": f"{measured.bits_per_weight:.2f}",
        "KL divergence, nats per token": f"{quality.kl:.5f}",
        "same most likely token": f"{quality.top1:.2%}",
        "perplexity": f"{quality.perplexity:.4f}",
        "perplexity of the source": f"{quality.source_perplexity:.4f}",
    }
