"""Quality per byte on nano: our recipes beside mlx-lm's, in the same run and float32.

    python tests/bench/quality.py [--count 50] [--bits 4 3] [--tools] [--sensitivity FILE]

Every row is a folder on the disk, measured as `mlx-deepseek quality` does on held-out exercises;
bits are those of all its tensors per parameter. mlx-lm converts our bf16 conversion, since its
loader refuses nano's MTP layer. Indented rows take no more bytes than the row of mlx-lm's above
them, and "ratio" is their divergence over that row's. Calibration uses training exercises only.
--tools adds mlx-lm's GPTQ (which knows 2, 4 and 8 bits) and DWQ with the same exercises.
"""

import argparse
import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlx_deepseek import load
from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.nano.text.evaluate import coder_of, evaluate
from mlx_deepseek_convert import convert
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.quality.budget import choose, describe, recipe, sizes
from mlx_deepseek_convert.quality.calibrate import calibrate
from mlx_deepseek_convert.quality.costs import as_table
from mlx_deepseek_convert.quality.report import Wanted, measure, sequences
from mlx_deepseek_convert.quality.sensitivity import measure as measure_costs
from mlx_deepseek_convert.source.checkpoint import open_source
from mlx_deepseek_convert.write.run import execute

NANO = checkpoint_path()
CALIBRATION = Wanted(count=10)
SENSITIVITY = Wanted(count=5)
DISTILLATION = Wanted(count=40)  # DWQ trains: it needs more
DWQ_RATE = 1e-4  # its default, 1e-6, is for larger models: 1e-5 gave 0.070 at 3 bits, 1e-4 0.023
MIXED = {4: ("mixed_4_6",), 3: ("mixed_3_4", "mixed_3_6"), 2: ("mixed_2_6",)}


class Row(NamedTuple):
    """A folder to be measured; a `peer` is what the rows after it are compared with."""

    name: str
    folder: Path
    peer: bool = False


class Bench:
    """Makes the folders of all rows below one folder."""

    def __init__(self, root: Path):
        self.root = root
        self.bf16 = convert("nano", root / "bf16", "bf16").target
        self.seen = sequences(NANO, CALIBRATION, held_out=False)
        self.costs = measure_costs(NANO, sequences(NANO, SENSITIVITY, held_out=False))

    def rows(self, bits: int, tools: bool) -> Iterator[Row]:
        """mlx-lm's recipes at `bits`, and ours in the same bytes."""
        peer = self.by_mlx_lm(f"uniform-{bits}", q_bits=bits)
        yield Row(f"mlx_lm.convert -q --q-bits {bits}", peer, True)
        if tools:
            yield Row("  + mlx_lm.dwq", self.distilled(peer))
        yield Row("  --calibrate --no-feedback", self.calibrated(peer, feedback=False))
        yield Row("  --calibrate", self.calibrated(peer))
        yield from self.fitted(peer, tools)
        if tools and bits == 4:
            folder = self.by_gptq(bits)
            yield Row("mlx_lm.gptq, 4 bits", folder, True)
            yield from self.fitted(folder, False)
        for name in MIXED.get(bits, ()):
            folder = self.by_mlx_lm(name, quant_predicate=name, q_group_size=64)
            yield Row(f"mlx_lm.convert {name}", folder, True)
            yield from self.fitted(folder, False)
        ours = convert("nano", self.root / f"ours-{bits}", f"{bits}bit").target
        yield Row(f"--recipe {bits}bit", ours, True)
        yield Row("  --calibrate", self.calibrated(ours))

    def fitted(self, peer: Path, tools: bool) -> Iterator[Row]:
        """A recipe for the bytes of `peer`, plain, calibrated, and with mlx-lm's DWQ on top."""
        source = open_source(NANO)
        takes, _ = sizes(source)
        chosen = choose(takes, self.costs, weight_bytes(peer) - main_fixed_bytes())
        folder = self.root / f"fit-{peer.name}"
        execute(make_plan(source, recipe(folder.name, describe(chosen), chosen)), folder)
        print(f"  ({describe(chosen)})")
        yield Row("  --fit", folder)
        better = self.calibrated(folder)
        yield Row("  --fit --calibrate", better)
        if tools:
            yield Row("  --fit --calibrate + mlx_lm.dwq", self.distilled(better))

    def by_mlx_lm(self, name: str, **options) -> Path:
        """A folder that mlx-lm converts."""
        import mlx_lm

        folder = self.root / f"mlx-lm-{name}"
        with contextlib.redirect_stdout(io.StringIO()):
            mlx_lm.convert(str(self.bf16), str(folder), quantize=True, **options)
        return folder

    def calibrated(self, folder: Path, *, feedback: bool = True) -> Path:
        """A copy of a folder, calibrated in place."""
        copy = folder.with_name(f"{folder.name}-{'calibrated' if feedback else 'scales'}")
        shutil.copytree(folder, copy)
        calibrate(NANO, copy, self.seen, feedback=feedback)
        return copy

    def by_gptq(self, bits: int) -> Path:
        """A folder made by mlx-lm's GPTQ: 4 bits, and 6 where it has none."""
        import mlx.core as mx
        from mlx_lm.quant.gptq import gptq_quantize
        from mlx_lm.utils import load_model

        model, config = load_model(self.bf16)
        model.set_dtype(mx.float32)
        tokens = mx.concatenate([batch.ids.flatten() for batch in self.seen])
        rows = tokens[: tokens.size // 128 * 128].reshape(-1, 128)
        model, config["quantization"] = gptq_quantize(model, rows, bits, 64, 6, 32)
        return self.saved(model, config, self.bf16, f"mlx-lm-gptq-{bits}")

    def distilled(self, folder: Path) -> Path:
        """A folder trained on by mlx-lm's DWQ: scales and biases, towards nano's own logits."""
        import mlx.core as mx
        import mlx.optimizers as optim
        from mlx_lm.quant.dwq import dwq_quantize
        from mlx_lm.utils import load_model

        from mlx_deepseek.checkpoint.load_weights import load_source

        teacher, _ = load_source(NANO, mx.float32)
        model, config = load_model(folder)
        model.set_dtype(mx.float32)
        batches = sequences(NANO, DISTILLATION, held_out=False)
        rows = [(row, 0) for batch in batches for row in np.array(batch.ids).tolist()]
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            dwq_quantize(
                model,
                lambda ids, step, split: teacher(ids),
                optim.Adam(DWQ_RATE, bias_correction=True),
                rows,
                rows[::20],
                batch_size=4,
                max_seq_length=256,
                seed=0,
                dtype=mx.float32,
            )
        return self.saved(model, config, folder, f"{folder.name}-dwq")

    def saved(self, model, config: dict, origin: Path, name: str) -> Path:
        """A folder with a model of mlx-lm's, in bfloat16."""
        import mlx.core as mx
        from mlx_lm.utils import save_config, save_model

        folder = self.root / name
        shutil.copytree(origin, folder, ignore=shutil.ignore_patterns("*.safetensors*"))
        model.set_dtype(mx.bfloat16)
        save_model(folder, model)
        config = {key: value for key, value in config.items() if key != "quantization_config"}
        save_config(config, folder / "config.json")
        return folder


def weight_bytes(folder: Path) -> int:
    """Bytes of the main model's tensors."""
    from mlx_deepseek.checkpoint.safetensors_header import read_header

    infos = read_header(folder / "model.safetensors")[0].values()
    return sum(info.nbytes for info in infos)


def main_fixed_bytes() -> int:
    """Bytes of what no recipe quantizes, MTP layers left out."""
    outputs = make_plan(open_source(NANO), "8bit").outputs
    return sum(o.nbytes for o in outputs if o.setting is None and not o.name.startswith("mtp."))


def right_answers(folder: Path, count: int) -> float:
    """Part of nano's held-out exercises, `count` of each family, that a conversion gets right."""
    engine = load(str(folder), dtype="float32")
    scores = list(evaluate(engine.model, coder_of(engine.tokenizer), count))
    return sum(score.right for score in scores) / sum(score.asked for score in scores)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="exercises per family")
    parser.add_argument("--bits", type=int, nargs="+", default=[4, 3])
    parser.add_argument("--tools", action="store_true", help="mlx-lm's GPTQ and DWQ too")
    parser.add_argument("--sensitivity", type=Path, help="write the measured costs there, and stop")
    args = parser.parse_args()
    if args.sensitivity:
        costs = as_table(measure_costs(NANO, sequences(NANO, CALIBRATION, held_out=False)))
        note = "KL in nats per token of nano, one class of tensors quantized at a time"
        args.sensitivity.write_text(json.dumps({"note": note, "costs": costs}, indent=1) + "\n")
        return
    print(f"{'':<34}{'bits':>7}{'KL':>10}{'ratio':>7}{'top-1':>9}{'nano':>8}")
    with tempfile.TemporaryDirectory() as root:
        bench = Bench(Path(root))
        for bits in args.bits:
            peer = 1.0
            for row in bench.rows(bits, args.tools):
                found = measure(NANO, row.folder, Wanted(count=args.count))
                quality = found.quality
                peer = quality.kl if row.peer else peer
                right = right_answers(row.folder, args.count)
                print(
                    f"{row.name:<34}{found.bits_per_weight:>7.3f}{quality.kl:>10.5f}"
                    f"{quality.kl / peer:>7.2f}{quality.top1:>9.2%}{right:>8.1%}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
