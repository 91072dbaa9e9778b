"""`mlx-deepseek prove`: every theorem of a Lean file that ends in `sorry`, or a benchmark's."""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_deepseek.catalog.embedded import FOLDERS, NANO_PROVER
from mlx_deepseek.commands.options import add_command, add_hosts, add_loading, hosting, loading
from mlx_deepseek.commands.terminal import printable, progress_bar
from mlx_deepseek.errors import LeanError, PromptError
from mlx_deepseek.runtime.whole_file import write_text_whole

if TYPE_CHECKING:
    from mlx_deepseek.engine import Engine
    from mlx_deepseek.proving import Attempt, Lean, Proof, Theorem
    from mlx_deepseek.proving.verdict import Verdict

SUMMARY = "prove the theorems of a Lean file that end in sorry; Lean judges"
PROVED, SOME_LEFT = 0, 3


def register(subparsers: Any) -> None:
    """Add the `prove` sub-command."""
    parser = add_command(subparsers, "prove", SUMMARY)
    told = "FILE.lean, or JSONL of problems (miniF2F's)"
    parser.add_argument("file", metavar="FILE", nargs="?", help=told)
    parser.add_argument(
        "--demo", action="store_true", help="prove a small file, with a small Lean if there is none"
    )
    told = f"a Prover, or none for tactics only ({NANO_PROVER} where there is no Mathlib)"
    parser.add_argument("--model", help=told)
    parser.add_argument("--filler", metavar="MODEL", help="writes the steps of sketches (MODEL)")
    add_loading(parser)
    add_hosts(parser)
    parser.add_argument("-o", "--output", metavar="OUT", help="FILE.proved.lean; never FILE itself")
    parser.add_argument(
        "--check",
        nargs="?",
        const="",
        metavar="PROVED",
        help="only judge the proofs of FILE's theorems in this file (FILE.proved.lean)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    _add_lean(parser)
    _add_search(parser)
    parser.set_defaults(func=run)


def _add_lean(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Lean", "default: the project around FILE, else elan's")
    group.add_argument("--lean", metavar="FILE", help="the program `lean`")
    group.add_argument("--project", metavar="DIR", help="a Lean project, for what it can import")
    group.add_argument("--workers", type=int, default=1, metavar="N", help="texts at once (1)")
    group.add_argument("--check-time", type=float, default=60, metavar="S", help="for a text (60)")
    group.add_argument("--lean-memory", type=float, default=8, metavar="GB", help="for one (8)")
    group.add_argument(
        "--unsafe", action="store_true", help="go on where this machine has no sandbox"
    )


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    group.add_argument("--method", choices=("portfolio", "sample", "tree", "sketch"))
    group.add_argument("--attempts", type=int, default=32, metavar="N", help="by the model (32)")
    group.add_argument(
        "--repair", type=int, default=0, metavar="N", help="more, that see a failed one"
    )
    group.add_argument("--timeout", type=float, default=300, metavar="S", help="a theorem (300)")
    group.add_argument("--max-tokens", type=int, metavar="N", help="longest answer")
    group.add_argument("--seed", type=int, help="makes attempts repeatable")
    group.add_argument(
        "--cot", action=argparse.BooleanOptionalAction, help="ask for comments or a plan first"
    )
    group.add_argument(
        "--all-attempts", action="store_true", help="go on after a proof, to estimate pass@k"
    )


def run(args: argparse.Namespace) -> int:
    """Prove or judge; 0 all proved, 3 some left."""
    from mlx_deepseek.proving import find_lean

    if args.demo:
        return _demo(args)
    if args.file is None:
        raise LeanError("prove needs a FILE.lean with a theorem that ends in `sorry`, or --demo.")
    source = Path(args.file)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LeanError(f"{source}: {error}. Expected a file of Lean or JSONL in UTF-8.") from error
    lean = find_lean(args.lean, project=args.project, near=source, unsafe=args.unsafe)
    _say_lean(lean)
    if source.suffix == ".jsonl":
        return _benchmark(args, text.splitlines(), lean)
    if args.check is not None:
        return _check(args, text, lean)
    return _file(args, text, lean)


def _demo(args: argparse.Namespace) -> int:
    from mlx_deepseek.proving import find_lean
    from mlx_deepseek.proving.demo.toolchain import DEMO, demo_lean

    try:
        lean = find_lean(args.lean, project=args.project, unsafe=args.unsafe)
    except LeanError:
        if args.lean or args.project:
            raise
        sys.stderr.write("There is no Lean here. The demonstration's own is built once.\n")
        lean = demo_lean(unsafe=args.unsafe)
        sys.stderr.write("Its library is a miniature: what `omega` rests on is assumed there.\n")
    _say_lean(lean)
    with tempfile.TemporaryDirectory() as folder:
        args.file = str(Path(folder, DEMO.name))
        _file(args, DEMO.read_text(encoding="utf-8"), lean)
        for line in _proved(args.file).read_text(encoding="utf-8").splitlines():
            _print(args, line)
    return PROVED


def _file(args: argparse.Namespace, text: str, lean: "Lean") -> int:
    from mlx_deepseek.proving.lean_file import prove_file

    output = Path(args.output) if args.output else _proved(args.file)
    if output.resolve() == Path(args.file).resolve():
        raise LeanError(f"{output} is the source. Name another file for the proofs.")
    work, proofs = _prover(args, lean), []

    def prove(theorem: "Theorem", _: int) -> "Attempt | None":
        proofs.append(work(theorem, theorem.full_name))
        return proofs[-1].found

    whole, _ = prove_file(text, prove)
    if not proofs:
        sys.stderr.write(f"{args.file}: no theorem ends in `sorry`.\n")
    elif any(proof.accepted for proof in proofs):
        write_text_whole(output, whole)
        if not args.demo:
            sys.stderr.write(f"Proofs: {output}\n")
    return _report(args, lean, proofs)


def _benchmark(args: argparse.Namespace, lines: list[str], lean: "Lean") -> int:
    from mlx_deepseek.prompts.formats.prover import HEADER
    from mlx_deepseek.proving.problems import pass_table, read_problems

    problems = read_problems(lines, HEADER if lean.has_mathlib else "")
    work = _prover(args, lean)
    proofs = [work(problem.theorem, problem.name) for problem in problems]
    table = pass_table(proofs)
    for name, share in table.items():
        sys.stderr.write(f"{name:>10} {share:6.1%}\n")
    return _report(args, lean, proofs, table)


def _check(args: argparse.Namespace, text: str, lean: "Lean") -> int:
    from mlx_deepseek.proving import Limits
    from mlx_deepseek.proving.lean_file import check_file

    proved = Path(args.check) if args.check else _proved(args.file)
    try:
        proofs = proved.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LeanError(f"{proved}: {error}. Expected a file with proofs.") from error
    limits = Limits(seconds=args.check_time, resident_bytes=int(args.lean_memory * 2**30))
    verdicts = check_file(text, proofs, lean, limits)
    for name, verdict in verdicts.items():
        _print(args, f"{name}: {'proved' if verdict.accepted else _why(verdict)}")
    if args.json:
        told = {name: asdict(verdict) for name, verdict in verdicts.items()}
        _print_json({"lean": lean.version, "theorems": told})
    return PROVED if all(v.accepted for v in verdicts.values()) else SOME_LEFT


def _why(verdict: "Verdict") -> str:
    return f"rejected: {_line(verdict.reason)}"


def _prover(args: argparse.Namespace, lean: "Lean") -> "Callable[[Theorem, str], Proof]":
    """Proves a theorem as the command line asks; its journal lets the same command go on."""
    from mlx_deepseek.proving import StopSignal, prove_with_model

    chosen = _model(args, lean)
    model = _load(args, chosen) if chosen else None
    filler = _load(args, args.filler) if args.filler else None
    found = ("sample" if args.model else "tree") if model else "portfolio"
    method = args.method or found
    folder = Path(args.file).with_suffix(".proofs")

    def prove(theorem: "Theorem", name: str) -> "Proof":
        def progress(attempt: "Attempt") -> None:
            if sys.stderr.isatty():
                told = "proved" if attempt.accepted else _line(attempt.reason)
                sys.stderr.write(f"{name}: {attempt.method} {attempt.number + 1}: {told}\n")

        def look(model: "Engine | None", method: str) -> "Proof":
            return prove_with_model(
                model,
                theorem,
                lean=replace(lean, stop=StopSignal()),
                filler=filler,
                cot=args.cot,
                max_tokens=args.max_tokens,
                progress=progress,
                method=method,
                attempts=args.attempts,
                repair=args.repair,
                timeout_s=args.timeout,
                check_s=args.check_time,
                memory_bytes=int(args.lean_memory * 2**30),
                seed=args.seed,
                every=args.all_attempts,
                workers=args.workers,
                journal=folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.{method}.jsonl",
            )

        try:
            proof = look(model, method)
        except PromptError:
            if args.model is not None:
                raise
            proof = look(None, "portfolio")  # more than the embedded model can read
        _print(args, f"{name}: {_outcome(proof)}")
        return proof

    return prove


def _model(args: argparse.Namespace, lean: "Lean") -> str | None:
    """The model to ask: the embedded one knows no Mathlib."""
    if args.model is None and args.method != "portfolio" and not lean.has_mathlib:
        return NANO_PROVER if NANO_PROVER in FOLDERS else None
    return None if args.model == "none" else args.model


def _load(args: argparse.Namespace, name: str) -> "Engine":
    from mlx_deepseek.engine import load

    with progress_bar() as progress:
        return load(name, **loading(args), **hosting(args), progress=progress)


def _outcome(proof: "Proof") -> str:
    from mlx_deepseek.proving import rests_on

    count = len(proof.attempts)
    if proof.found is None:
        last = f"; the last: {_line(proof.attempts[-1].reason)}" if proof.attempts else ""
        return f"not proved, {count} attempts{last}"
    found = f"proved by {proof.method}, attempt {proof.found.number + 1}"
    return f"{found}; {rests_on(proof.axioms)}"


def _report(
    args: argparse.Namespace,
    lean: "Lean",
    proofs: "Iterable[Proof]",
    table: dict[str, float] | None = None,
) -> int:
    proofs = list(proofs)
    if args.json:
        told = [
            {
                "name": proof.theorem.full_name,
                "statement": proof.statement_shown,
                "proved": proof.accepted,
                "method": proof.method,
                "proof": proof.text,
                "axioms": proof.axioms,
                "seconds": proof.seconds,
                "attempts": [asdict(attempt) for attempt in proof.attempts],
            }
            for proof in proofs
        ]
        _print_json({"lean": lean.version, "theorems": told, "shares": table})
    return PROVED if all(proof.accepted for proof in proofs) else SOME_LEFT


def _say_lean(lean: "Lean") -> None:
    where = lean.project or lean.executable
    library = "with Mathlib" if lean.has_mathlib else "without Mathlib"
    sys.stderr.write(f"Lean {lean.version} ({lean.found}: {where}), {library}; ")
    sys.stderr.write(f"sandbox: {lean.sandbox}\n")


def _proved(file: str) -> Path:
    return Path(file).with_suffix(".proved.lean")


def _line(text: str) -> str:
    return printable(" ".join(text.split()))[:160]


def _print(args: argparse.Namespace, line: str) -> None:
    stream = sys.stderr if args.json else sys.stdout
    stream.write(printable(line) + "\n")
    stream.flush()


def _print_json(told: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
