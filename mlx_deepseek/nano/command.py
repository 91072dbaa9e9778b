"""`mlx-deepseek nano train` and `mlx-deepseek nano eval`, of all embedded models."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mlx_deepseek.catalog.embedded import NANO, NANO_OCR, NANO_PROVER

MODELS = NANO, NANO_OCR, NANO_PROVER
MINUTES = {NANO: 45.0, NANO_OCR: 60.0, NANO_PROVER: 60.0}
COUNT = {NANO: 100, NANO_OCR: 50, NANO_PROVER: 20}


def register(subparsers: Any, name: str = NANO) -> None:
    """Add the command `name`; all do the same, with another model if none is named."""
    parser = subparsers.add_parser(name, help=f"train or measure {name}, which is built in")
    actions = parser.add_subparsers(required=True, metavar="train | eval")
    train = actions.add_parser("train", help="train on exercises that the program makes")
    train.add_argument("model", nargs="?", default=name, choices=MODELS)
    train.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    train.add_argument("--minutes", type=float, help="length of the run (nano 45, others 60)")
    train.add_argument("--rate", type=float, help="peak learning rate of matrices (nano 4e-3)")
    train.add_argument("--steps", type=int, help="end after this many steps instead")
    train.add_argument("--tokens", type=int, default=4096, help="tokens per step of texts (4096)")
    train.add_argument("--drafts", type=int, default=3, help="drafts that nano learns (3)")
    train.add_argument(
        "--proofs", type=int, default=500, help="nano-prover's, with goals, per family (500)"
    )
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--resume", action="store_true", help="go on with the run in FOLDER")
    train.add_argument("--start", metavar="MODEL", help="start from its weights, not at random")
    train.add_argument(
        "--new-tokenizer", action="store_true", help="with --start: train nano's tokenizer anew"
    )
    train.add_argument("--mtp-of", metavar="MODEL", help="train only the MTP layer of a nano")
    train.set_defaults(func=run_train)
    measure = actions.add_parser("eval", help="right answers to what training never saw")
    measure.add_argument(
        "model", nargs="?", default=name, metavar="MODEL", help="a model, a folder, or tesseract"
    )
    measure.add_argument("--recipe", help="quantize first, for instance 8bit or 4bit")
    measure.add_argument(
        "--count", type=int, help="problems (100), pictures (50), statements (20) of a kind"
    )
    measure.add_argument("--wrong", type=int, default=0, help="show so many wrong replies each")
    measure.add_argument("--json", action="store_true")
    measure.set_defaults(func=run_eval)


def register_ocr(subparsers: Any) -> None:
    """Add the same command by the name of nano-ocr."""
    register(subparsers, NANO_OCR)


def run_train(args: argparse.Namespace) -> int:
    """Train, and leave the checkpoint in FOLDER/checkpoint."""
    minutes = args.minutes or MINUTES[args.model]
    plan: dict[str, Any] = {"minutes": minutes, "steps": args.steps, "seed": args.seed}
    if args.rate:
        plan |= {"muon_rate": args.rate, "adam_rate": 0.75 * args.rate}
    trainer = _trainer(args, plan)
    if args.resume:
        trainer.resume(args.out)
    trainer.run(args.out, lambda line: _write(line, sys.stderr))
    _write(f"Trained {args.model} is in {args.out / 'checkpoint'}.")
    return 0


def _trainer(args: argparse.Namespace, plan: dict[str, Any]) -> Any:
    source = args.mtp_of or args.start
    start: Any = None
    if source:
        from mlx_deepseek.engine.load import load
        from mlx_deepseek.nano.training.state import named

        start = named(load(source, dtype="float32").model.parameters())
    if args.model == NANO_OCR:
        from mlx_deepseek.nano.ocr import train as ocr

        return ocr.OCRTrainer(ocr.OCRTrainingPlan(**plan), start)
    if args.model == NANO_PROVER:
        return _prover_trainer(args, plan, start)
    from mlx_deepseek.nano.text import train as text
    from mlx_deepseek.nano.text.config import nano_config
    from mlx_deepseek.nano.text.respell import respelled
    from mlx_deepseek.nano.text.tokenizer import shipped_tokenizer, train_tokenizer

    tokenizer = shipped_tokenizer() if source else train_tokenizer()
    if args.start and args.new_tokenizer:
        old, tokenizer = tokenizer, train_tokenizer()
        start = respelled(start, old, tokenizer)
    wanted = text.TextTrainingPlan(tokens=args.tokens, drafts=args.drafts, **plan)
    return text.TextTrainer(nano_config(), tokenizer, wanted, start, mtp_only=bool(args.mtp_of))


def _prover_trainer(args: argparse.Namespace, plan: dict[str, Any], start: Any) -> Any:
    from mlx_deepseek.nano.prover.states import kept_states
    from mlx_deepseek.nano.prover.tokenizer import tokenizer_of
    from mlx_deepseek.nano.prover.train import ProverTrainer
    from mlx_deepseek.nano.text.respell import respelled
    from mlx_deepseek.nano.text.tokenizer import shipped_tokenizer
    from mlx_deepseek.nano.text.train import TextTrainingPlan
    from mlx_deepseek.proving.demo.toolchain import demo_lean

    states = kept_states(args.out, args.proofs, demo_lean, args.seed)
    wanted = TextTrainingPlan(tokens=args.tokens, drafts=0, **plan)
    tokenizer = tokenizer_of(args.out)
    if start is not None and args.start == NANO:
        start = respelled(start, shipped_tokenizer(), tokenizer)
        start = {key: value for key, value in start.items() if not key.startswith("mtp.")}
    return ProverTrainer(tokenizer, wanted, states, start)


def run_eval(args: argparse.Namespace) -> int:
    """Measure any model that speaks nano's format, sees or proves; print a table or JSON."""
    report = (lambda line: None) if args.json else _write
    if args.model == "tesseract":
        from mlx_deepseek.nano.ocr.evaluate import tesseract

        found = _reading(tesseract, args, report, boxes=False)
    else:
        from mlx_deepseek.engine.load import load

        engine = load(args.model, recipe=args.recipe)
        if engine.sees:
            from mlx_deepseek.nano.ocr.evaluate import reader

            found = _reading(reader(engine), args, report)
        elif engine.prompt_format.id.startswith("prover"):
            found = _proving(engine, args, report)
        else:
            found = _answering(engine, args, report)
    if args.json:
        _write(json.dumps(found, indent=2))
    return 0


def _answering(engine: Any, args: argparse.Namespace, report: Callable) -> dict[str, Any]:
    from mlx_deepseek.nano.text.evaluate import coder_of, evaluate, free_answers, measure_use

    coder, count = coder_of(engine.tokenizer), args.count or COUNT[NANO]
    worded = {
        name: _scored(evaluate(engine.model, coder, count, unseen=name == "unseen"), args, report)
        for name in ("known", "unseen")
    }
    free = free_answers(engine.model, coder)
    kinds = {
        kind: [row for row in free if row[2] == kind] for kind in ("right", "declined", "wrong")
    }
    report("free prompts: " + ", ".join(f"{len(rows)} {kind}" for kind, rows in kinds.items()))
    for prompt, reply, _ in kinds["wrong"][: args.wrong]:
        report(f"    {prompt!r} -> {reply!r}")
    use = measure_use(engine.model, coder)
    report("expert load, busiest / mean, per MoE layer: " + _listed(use.max_over_mean, ".2f"))
    if use.mtp_acceptance:
        report(
            f"drafts that are right, the first in a row, the second, ...: "
            f"{_listed(use.mtp_acceptance, '.1%')}"
        )
    return {"families": worded, "free": {k: len(rows) for k, rows in kinds.items()}, **vars(use)}


def _scored(
    scores: Iterable[Any], args: argparse.Namespace, report: Callable
) -> dict[str, dict[str, int]]:
    found = {}
    for score in scores:
        report(f"{score.family:15} {score.right:4} / {score.asked:<4} {score.accuracy:7.1%}")
        for question, reply in score.wrong[: args.wrong]:
            report(f"    {question!r} -> {reply!r}")
        found[score.family] = {"right": score.right, "asked": score.asked}
    right, asked = (sum(row[key] for row in found.values()) for key in ("right", "asked"))
    report(f"{'all':15} {right:4} / {asked:<4} {right / asked:7.1%}")
    return found


def _reading(
    read: Callable, args: argparse.Namespace, report: Callable, boxes: bool = True
) -> dict[str, Any]:
    from mlx_deepseek.nano.ocr.evaluate import evaluate
    from mlx_deepseek.nano.ocr.pictures import APART, KINDS

    rows = {}
    for score in evaluate(
        read, args.count or COUNT[NANO_OCR], (*KINDS, *APART) if boxes else (*KINDS[:-1], *APART)
    ):
        found = f"  boxes {score.found}/{score.boxes}" if score.boxes else ""
        report(
            f"{score.kind:8} {score.error_rate:7.1%} of {score.characters} characters wrong, "
            f"{score.perfect}/{score.pictures} without error{found}"
        )
        rows[score.kind] = vars(score) | {"error_rate": score.error_rate}
    return rows


def _proving(engine: Any, args: argparse.Namespace, report: Callable) -> dict[str, Any]:
    from mlx_deepseek.nano.prover.evaluate import KS, FamilyProofs, evaluate
    from mlx_deepseek.proving.demo.toolchain import demo_lean

    names = " ".join(f"{method}@{k:<3}" for method in ("sample", "tree") for k in KS)
    report(f"{'':12} asked tactics left greedy {names} checks/s")
    total, rows = FamilyProofs("all"), []

    def show(one: FamilyProofs) -> None:
        left = max(one.left, 1)
        shares = [one.greedy / left]
        shares += [kept[k] / left for kept in (one.sampled, one.tree) for k in KS]
        rows.append(vars(one) | {"left": one.left})
        report(
            f"{one.family:12} {one.asked:5} {one.by_tactics:7} {one.left:4} "
            f"{' '.join(f'{share:8.1%}' for share in shares)} "
            f"{one.checks / max(one.seconds, 1e-9):8.1f}"
        )

    for found in evaluate(engine, demo_lean(), args.count or COUNT[NANO_PROVER]):
        show(found)
        total.add(found)
    show(total)
    return {row["family"]: row for row in rows}


def _listed(values: list[float], style: str) -> str:
    return ", ".join(f"{value:{style}}" for value in values)


def _write(line: str, stream: Any = None) -> None:
    (stream or sys.stdout).write(line + "\n")
    (stream or sys.stdout).flush()
