"""Options that several commands share: which model, how to sample, what to show."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_deepseek.commands.terminal import progress_bar

if TYPE_CHECKING:
    from mlx_deepseek.engine import Caching, Engine


def add_command(
    subparsers: Any, name: str, summary: str, details: str = "", **options: Any
) -> argparse.ArgumentParser:
    """A sub-command; its description is the summary as a sentence, and `details`."""
    sentence = f"{summary[0].upper()}{summary[1:]}.{details}"
    return subparsers.add_parser(name, help=summary, description=sentence, **options)


def add_model(parser: argparse.ArgumentParser) -> None:
    """MODEL and how to get it."""
    parser.add_argument(
        "model", metavar="MODEL", help='"nano", a folder, a hub id or a name that `models` lists'
    )
    add_loading(parser)
    add_hosts(parser)
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


def add_loading(parser: argparse.ArgumentParser) -> None:
    """Which form of a model, and how much of it in memory."""
    parser.add_argument("--recipe", help="quantization of a Hugging Face checkpoint (4bit)")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    add_memory(parser)


def add_memory(parser: argparse.ArgumentParser) -> None:
    """How much memory a model may take."""
    parser.add_argument(
        "--memory",
        metavar="SIZE",
        help="what weights and context may take, as 48GB; experts that do not fit are read from "
        "disk (this machine's)",
    )


def add_hosts(parser: argparse.ArgumentParser) -> None:
    """Which machines hold a model together, and how."""
    group = parser.add_argument_group("several machines")
    group.add_argument(
        "--hosts", metavar="FILE", help="the machines that hold the model together, as a JSON file"
    )
    group.add_argument(
        "--split",
        choices=("pipeline", "tensor"),
        default="pipeline",
        help="whole layers on each machine, or a share of every layer (%(default)s)",
    )


def hosting(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `load` that `add_hosts` asked for."""
    return {"hosts": args.hosts, "split": args.split}


def loading(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `load` that `add_loading` asked for."""
    return {"recipe": args.recipe, "revision": args.revision, "memory": args.memory}


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
    parser.add_argument(
        "--effort", metavar="LEVEL", help="how long V4 and later think: low, high or max"
    )


def stream_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `Engine.stream` that the command line gave.

    Raises:
        PromptError: a sampling value outside its range.
    """
    from mlx_deepseek.generation.sampling import Sampling

    return {
        "max_tokens": args.max_tokens,
        "thinking": args.thinking,
        "effort": args.effort,
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


def caching(args: argparse.Namespace) -> "Caching":
    """How prompts are kept, and whether tokens are drafted, as `add_model` asked."""
    from mlx_deepseek.engine import Caching
    from mlx_deepseek.engine.caching import prefix_folder

    folder = None
    if args.prefix_cache is not None:
        folder = Path(args.prefix_cache).expanduser() if args.prefix_cache else prefix_folder()
    return Caching(bits=args.cache_bits, speculate=args.speculate, prefix_folder=folder)


def load_model(args: argparse.Namespace) -> "Engine":
    """Load what `add_model` asked for, with a progress bar.

    Raises:
        DeepSeekError: as `mlx_deepseek.load`.
    """
    from mlx_deepseek.engine import load

    with progress_bar() as progress:
        return load(
            args.model,
            **loading(args),
            **hosting(args),
            caching=caching(args),
            draft=args.draft_model,
            progress=progress,
        )
