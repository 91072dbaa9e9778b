"""`mlx-deepseek`: one executable; every package adds its commands through entry points."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from mlx_deepseek import __version__
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.runtime.launched import launched_rank

GROUP = "mlx_deepseek.commands"
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 1 failed, 2 not understood."""
    words = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its advice is for programmers
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a letter that is not known here ends nothing
    try:
        parser = build_parser(words)
        args = parser.parse_args(words)
        if not hasattr(args, "func"):
            parser.print_help(sys.stderr)
            return USAGE
        if hasattr(args, "hosts") and launched_rank():
            from mlx_deepseek.distributed.follower import follow

            return follow()  # rank 0 does what the command says
        return args.func(args)
    except SystemExit as end:  # argparse has printed help, version or what is wrong
        return int(end.code or 0)
    except DeepSeekError as error:
        if "--debug" in words:
            raise
        sys.stderr.write(f"mlx-deepseek: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of `words`; imports only the command they name, all for help."""
    parser = argparse.ArgumentParser(
        prog="mlx-deepseek", description="DeepSeek's open models on this machine, on MLX."
    )
    parser.add_argument("--version", action="version", version=f"mlx-deepseek {__version__}")
    _add_debug(parser, default=False)
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands")
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    named = next((found[word] for word in words if word in found), None)
    for entry in [named] if named else sorted(found.values(), key=_order):
        _register(entry, subparsers, required=named is not None)
    for command in subparsers.choices.values():
        _add_debug(command, default=argparse.SUPPRESS)
    return parser


def _add_debug(parser: argparse.ArgumentParser, default: object) -> None:
    text = "show where an error comes from"
    parser.add_argument("--debug", action="store_true", default=default, help=text)


def _register(entry: EntryPoint, subparsers: argparse._SubParsersAction, required: bool) -> None:
    try:
        entry.load()(subparsers)
    except ImportError as error:
        # One package's missing part must not take the other commands away.
        if required:
            raise DeepSeekError(f"Command {entry.name!r} cannot be loaded: {error}.") from error
        sys.stderr.write(f"mlx-deepseek: command {entry.name!r} is left out: {error}\n")


def _order(entry: EntryPoint) -> tuple[int, str]:
    first = (
        "app",
        "serve",
        "launch",
        "chat",
        "generate",
        "read",
        "draw",
        "prove",
        "convert",
        "info",
        "models",
        "hosts",
        "bench",
    )
    return (first.index(entry.name) if entry.name in first else len(first), entry.name)


if __name__ == "__main__":
    sys.exit(main())
