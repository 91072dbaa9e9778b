"""`mlx-deepseek generate`: one answer, for people and for programs."""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlx_deepseek.commands.options import (
    add_command,
    add_model,
    add_sampling,
    load_model,
    stream_options,
)
from mlx_deepseek.commands.terminal import ChunkPrinter, summary
from mlx_deepseek.errors import PromptError

SUMMARY = "answer one prompt"


def register(subparsers: Any) -> None:
    """Add the `generate` sub-command."""
    parser = add_command(subparsers, "generate", SUMMARY)
    add_model(parser)
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="default: standard input")
    add_sampling(parser)
    parser.add_argument(
        "--schema", metavar="FILE", help="answer with JSON that fits the JSON schema in this file"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Load, answer, print; DeepSeekError is the caller's to print."""
    prompt = args.prompt if args.prompt not in (None, "-") else sys.stdin.read()
    if not prompt.strip():
        raise PromptError("The prompt is empty. Give it as an argument or on standard input.")
    options = stream_options(args) | {"images": args.image}
    if args.schema:
        options["response_format"] = schema_format(args.schema)
    engine = load_model(args)
    request: Any = prompt
    if args.system:
        request = [{"role": "system", "content": args.system}, {"role": "user", "content": prompt}]
    if args.json:
        done = engine.generate(request, **options)
        sys.stdout.write(json.dumps({"model": engine.name, **asdict(done)}, ensure_ascii=False))
        sys.stdout.write("\n")
        return 0
    writer = ChunkPrinter(sys.stdout, show_thinking=args.thinking is not False)
    last = writer.write(engine.stream(request, **options))
    if last is not None and sys.stderr.isatty():
        sys.stderr.write(summary(last.usage, engine.context_length) + "\n")
    cut = last is not None and last.finish_reason == "length"
    if cut:
        sys.stderr.write("mlx-deepseek: the answer was cut off; raise --max-tokens\n")
    return 1 if cut and args.schema else 0


def schema_format(path: str) -> dict[str, Any]:
    """The `response_format` for a file with a JSON schema."""
    try:
        schema = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PromptError(f"{path}: {error}. Expected a file with a JSON schema.") from error
    return {"type": "json_schema", "json_schema": {"schema": schema}}
