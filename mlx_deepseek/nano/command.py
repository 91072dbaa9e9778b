"""`mlx-deepseek nano train` and `mlx-deepseek nano eval`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    """Add the `nano` command."""
    parser = subparsers.add_parser("nano", help="train or measure the embedded model")
    actions = parser.add_subparsers(required=True, metavar="train | eval")
    train = actions.add_parser("train", help="train nano from nothing on generated exercises")
    train.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    train.add_argument("--minutes", type=float, default=45.0, help="length of the run (45)")
    train.add_argument("--steps", type=int, help="end after this many steps instead")
    train.add_argument("--tokens", type=int, default=4096, help="tokens per step (4096)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--resume", action="store_true", help="go on with the run in FOLDER")
    train.add_argument("--mtp-of", metavar="MODEL", help="train only the MTP layer of a nano")
    train.set_defaults(func=run_train)
    measure = actions.add_parser("eval", help="accuracy per task family on held-out problems")
    measure.add_argument("model", nargs="?", default="nano", metavar="MODEL")
    measure.add_argument("--recipe", help="quantize first, for instance 8bit or 4bit")
    measure.add_argument("--count", type=int, default=100, help="problems per family (100)")
    measure.add_argument("--wrong", type=int, default=0, help="show so many wrong replies each")
    measure.add_argument("--json", action="store_true")
    measure.set_defaults(func=run_eval)


def run_train(args: argparse.Namespace) -> int:
    """Train, and leave the checkpoint in FOLDER/checkpoint."""
    from mlx_deepseek.nano.saving import named
    from mlx_deepseek.nano.train import Plan, new_trainer

    plan = Plan(minutes=args.minutes, steps=args.steps, tokens=args.tokens, seed=args.seed)
    finished = None
    if args.mtp_of:
        from mlx_deepseek.engine import load

        finished = named(load(args.mtp_of, dtype="float32").model.parameters())
    trainer = new_trainer(args.out, plan, resume=args.resume, finished=finished)
    trainer.run(args.out, lambda line: _write(line, sys.stderr))
    _write(f"Trained nano is in {args.out / 'checkpoint'}.")
    return 0


def run_eval(args: argparse.Namespace) -> int:
    """Measure any model that speaks nano's format; print a table or JSON."""
    from mlx_deepseek.engine import load
    from mlx_deepseek.nano.evaluate import Coder, Score, evaluate, measure_use

    engine = load(args.model, recipe=args.recipe)
    tokenizer = engine.tokenizer
    coder = Coder(
        lambda text: tokenizer.encode(text, add_special_tokens=False),
        lambda ids: tokenizer.decode(ids),
    )

    def show(score: Score) -> None:
        if not args.json:
            _write(f"{score.family:15} {score.right:4} / {score.asked:<4} {score.accuracy:7.1%}")
            for question, reply in score.wrong[: args.wrong]:
                _write(f"    {question!r} -> {reply!r}")

    scores = evaluate(engine.model, coder, args.count, show)
    use = measure_use(engine.model, coder)
    right, asked = sum(s.right for s in scores), sum(s.asked for s in scores)
    if args.json:
        families = {s.family: {"right": s.right, "asked": s.asked} for s in scores}
        balance = {"max_over_mean": use.max_over_mean, "mtp_acceptance": use.mtp_acceptance}
        _write(json.dumps({"families": families, **balance}, indent=2))
        return 0
    _write(f"{'all':15} {right:4} / {asked:<4} {right / asked:7.1%}")
    loads = ", ".join(f"{value:.2f}" for value in use.max_over_mean)
    _write(f"expert load, busiest / mean, per MoE layer: {loads}")
    if use.mtp_acceptance:
        shares = ", ".join(f"{share:.1%}" for share in use.mtp_acceptance)
        _write(f"drafts that are right, the first in a row, the second, ...: {shares}")
    return 0


def _write(line: str, stream: Any = None) -> None:
    (stream or sys.stdout).write(line + "\n")
    (stream or sys.stdout).flush()
