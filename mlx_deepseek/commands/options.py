"""Options that several commands share: which model, how to sample, what to show."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_deepseek.commands.terminal import progress_bar

if TYPE_CHECKING:
    from mlx_deepseek.engine import Engine


def add_model(parser: argparse.ArgumentParser) -> None:
    """MODEL and how to get it."""
    parser.add_argument(
        "model", metavar="MODEL", help='"nano", a folder, a hub id or a name that `models` lists'
    )
    add_version(parser)
    group = parser.add_argument_group("speed and memory")
    group.add_argument("--cache-bits", type=int, metavar="4|8", help="quantize the latent cache")
    group.add_argument(
        "--speculate", type=int, metavar="N", help="tokens to draft at a time (as many as pay)"
    )
    group.add_argument("--draft-model", metavar="MODEL", help="a smaller model that drafts")
    group.add_argument(
        "--prefix-cache",
        nargs="?",
        const="",
        metavar="FOLDER",
        help="keep what was read of prompts on disk, so that they start sooner next time",
    )


def add_version(parser: argparse.ArgumentParser) -> None:
    """Which form of a model."""
    parser.add_argument("--recipe", help="quantization of a Hugging Face checkpoint (4bit)")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Everything that `sampling` and `stream_options` read."""
    group = parser.add_argument_group("sampling", "what is left out is as the authors recommend")
    group.add_argument("--max-tokens", type=int, metavar="N", help="longest answer")
    group.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token")
    group.add_argument("--top-p", type=float, metavar="P")
    group.add_argument("--top-k", type=int, default=0, metavar="K")
    group.add_argument("--min-p", type=float, default=0.0, metavar="P")
    group.add_argument("--repetition-penalty", type=float, metavar="X")
    group.add_argument("--seed", type=int, help="makes the answer repeatable")
    group.add_argument("--stop", action="append", default=[], metavar="TEXT", help="ends an answer")
    parser.add_argument("--system", metavar="TEXT", help="system prompt")
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="FILE",
        help="a picture for the (first) message; may be repeated",
    )
    parser.add_argument(
        "--thinking",
        action=argparse.BooleanOptionalAction,
        help="ask a model with two modes to think; --no-thinking also hides what others think",
    )


def stream_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `Engine.stream` that the command line gave.

    Raises:
        PromptError: a sampling value outside its range.
    """
    from mlx_deepseek.sampling import Sampling

    return {
        "max_tokens": args.max_tokens,
        "thinking": args.thinking,
        "stop": args.stop,
        "sampling": Sampling(
            temperature=args.temperature,
            top_p=args.top_p,
            top_k=args.top_k,
            min_p=args.min_p,
            repetition_penalty=args.repetition_penalty,
            seed=args.seed,
        ),
    }


def load_model(args: argparse.Namespace) -> "Engine":
    """Load what `add_model` asked for, with a progress bar.

    Raises:
        DeepSeekError: as `mlx_deepseek.load`.
    """
    from mlx_deepseek.caches import Caching, prefix_folder
    from mlx_deepseek.engine import load

    folder = None
    if args.prefix_cache is not None:
        folder = Path(args.prefix_cache).expanduser() if args.prefix_cache else prefix_folder()
    caching = Caching(bits=args.cache_bits, speculate=args.speculate, prefix_folder=folder)
    with progress_bar() as progress:
        return load(
            args.model,
            recipe=args.recipe,
            revision=args.revision,
            caching=caching,
            draft=args.draft_model,
            progress=progress,
        )
