"""`mlx-deepseek nano-ocr train` and `mlx-deepseek nano-ocr eval`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def register(subparsers: Any) -> None:
    """Add the `nano-ocr` command."""
    parser = subparsers.add_parser("nano-ocr", help="train or measure the embedded reader")
    actions = parser.add_subparsers(required=True, metavar="train | eval")
    train = actions.add_parser("train", help="train nano-ocr from nothing on drawn pictures")
    train.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    train.add_argument("--minutes", type=float, default=60.0, help="length of the run (60)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--resume", action="store_true", help="go on with the run in FOLDER")
    train.set_defaults(func=run_train)
    measure = actions.add_parser("eval", help="character errors on held-out pictures")
    measure.add_argument(
        "model", nargs="?", default="nano-ocr", metavar="MODEL", help="a model, or tesseract"
    )
    measure.add_argument("--count", type=int, default=50, help="pictures of each kind (50)")
    measure.add_argument("--json", action="store_true")
    measure.set_defaults(func=run_eval)


def run_train(args: argparse.Namespace) -> int:
    """Train, and leave the checkpoint in FOLDER/checkpoint."""
    from mlx_deepseek.nano_ocr.card import model_card
    from mlx_deepseek.nano_ocr.export import export
    from mlx_deepseek.nano_ocr.train import Plan, new_trainer, parameter_count

    plan = Plan(minutes=args.minutes, seed=args.seed)
    trainer = new_trainer(plan, args.out, resume=args.resume)
    trainer.run(args.out, lambda line: _write(line, sys.stderr))
    folder = args.out / "checkpoint"
    card = model_card(parameter_count(trainer.model.parameters()))
    export(trainer.model, trainer.config, trainer.tokenizer, folder, card)
    _write(f"Trained nano-ocr is in {folder}.")
    return 0


def run_eval(args: argparse.Namespace) -> int:
    """Measure a model that reads pictures, or tesseract; print a table or JSON."""
    from mlx_deepseek.nano_ocr import evaluate

    def show(score: Any) -> None:
        if not args.json:
            boxes = f"  boxes {score.found}/{score.boxes}" if score.boxes else ""
            _write(
                f"{score.kind:8} {score.error_rate:7.1%} of {score.characters} characters wrong, "
                f"{score.perfect}/{score.pictures} without error{boxes}"
            )

    read = evaluate.tesseract if args.model == "tesseract" else reader(args.model)
    kinds = evaluate.KINDS[:-1] if args.model == "tesseract" else evaluate.KINDS
    scores = evaluate.evaluate(read, args.count, kinds, show)
    if args.json:
        rows = {s.kind: vars(s) | {"error_rate": s.error_rate} for s in scores}
        _write(json.dumps(rows, indent=2))
    return 0


def reader(model: str) -> Any:
    """A function that has the model read a picture."""
    from mlx_deepseek.engine import load
    from mlx_deepseek.sampling import Sampling

    engine = load(model)

    def read(picture: Any, question: str) -> str:
        options: Any = {"max_tokens": 160, "sampling": Sampling(temperature=0.0)}
        return engine.generate(question, images=[picture], **options).text

    return read


def _write(line: str, stream: Any = None) -> None:
    (stream or sys.stdout).write(line + "\n")
    (stream or sys.stdout).flush()
