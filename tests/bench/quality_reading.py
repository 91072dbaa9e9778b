"""Quality per byte on nano-ocr: the same bits everywhere, as mlx-lm quantizes, beside ours.

    python tests/bench/quality_reading.py [--count 10] [--bits 4 3] [--read 5]

mlx-lm has no class for DeepSeek-OCR, so its rounding (`mx.quantize`, one number of bits, groups of
64 or 32) is applied by our converter; encoders of pictures stay as they are in every row. Indented
rows take no more bytes. Measured are the right answers to pictures that neither training nor
calibration saw: divergence from nano-ocr's own BF16, its most likely character, and, for --read
pictures of each kind, the characters that it reads wrong.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlx_deepseek import load
from mlx_deepseek.catalog.embedded import NANO_OCR, checkpoint_path
from mlx_deepseek.nano.ocr.evaluate import evaluate, reader
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.planning.recipes import NEVER, Recipe
from mlx_deepseek_convert.quality.budget import choose, describe, recipe, sizes
from mlx_deepseek_convert.quality.calibrate import calibrate
from mlx_deepseek_convert.quality.layerwise import LayerwiseModel
from mlx_deepseek_convert.quality.report import Wanted, bits_per_weight, sequences
from mlx_deepseek_convert.quality.score import compare
from mlx_deepseek_convert.quality.sensitivity import measure
from mlx_deepseek_convert.source.checkpoint import open_source
from mlx_deepseek_convert.source.formats import Setting
from mlx_deepseek_convert.write.run import execute

SOURCE = checkpoint_path(NANO_OCR)
CALIBRATION, SENSITIVITY = Wanted(count=20), Wanted(count=5)


def rows(root: Path, bits: int, costs) -> Iterator[tuple[str, Path]]:
    """Names and folders: uniform, calibrated, fitted to its bytes, and both."""
    source = open_source(SOURCE)
    plan = make_plan(source, Recipe(f"{bits}", "", NEVER, NEVER, Setting(bits)))
    yield f"{bits} bits everywhere", execute(plan, root / f"{bits}").target
    yield "  --calibrate", calibrated(root / f"{bits}")
    takes, fixed = sizes(source)
    chosen = choose(takes, costs, plan.bytes_out - fixed)
    print(f"  ({describe(chosen)})")
    fitted = make_plan(source, recipe("fit", "", chosen))
    yield "  --fit", execute(fitted, root / f"{bits}-fit").target
    yield "  --fit --calibrate", calibrated(root / f"{bits}-fit")


def calibrated(folder: Path) -> Path:
    """A copy of a folder, calibrated in place."""
    copy = folder.with_name(f"{folder.name}-calibrated")
    shutil.copytree(folder, copy)
    calibrate(SOURCE, copy, sequences(SOURCE, CALIBRATION, held_out=False))
    return copy


def wrong_characters(folder: Path, count: int) -> float:
    """Character errors of a conversion on `count` held-out pictures of each kind."""
    scores = list(evaluate(reader(load(str(folder))), count))
    return sum(score.errors for score in scores) / sum(score.characters for score in scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10, help="pictures per kind")
    parser.add_argument("--read", type=int, default=5, help="pictures per kind to be read")
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3])
    args = parser.parse_args()
    batches = sequences(SOURCE, Wanted(count=args.count))
    costs = measure(SOURCE, sequences(SOURCE, SENSITIVITY, held_out=False))
    print(f"{'':<24}{'bits':>8}{'KL':>10}{'ratio':>7}{'top-1':>9}{'wrong':>8}")
    with tempfile.TemporaryDirectory() as root:
        for bits in args.bits:
            peer = 0.0
            for name, folder in rows(Path(root), bits, costs):
                found = compare(LayerwiseModel(SOURCE), LayerwiseModel(folder), batches)
                peer = peer or found.kl
                print(
                    f"{name:<24}{bits_per_weight(folder):>8.3f}{found.kl:>10.5f}"
                    f"{found.kl / peer:>7.2f}{found.top1:>9.2%}"
                    f"{wrong_characters(folder, args.read):>8.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
