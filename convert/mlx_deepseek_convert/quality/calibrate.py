"""Round a conversion's weights again for the inputs they get: other values, the same format.

Layer by layer, in the order of the computation, each layer seeing the inputs that the quantized
layers before it produce. Tensors are overwritten in their files: names, shapes and places stay.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.checkpoint.files import weight_files
from mlx_deepseek.checkpoint.repository import RECORD
from mlx_deepseek.checkpoint.safetensors_header import DTYPES, TensorInfo, read_header
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.runtime.progress import Progress as ConversionProgress
from mlx_deepseek_convert.planning.outputs import as_integers
from mlx_deepseek_convert.planning.plan import Plan
from mlx_deepseek_convert.quality.layer_inputs import Inputs, observe
from mlx_deepseek_convert.quality.layerwise import (
    LayerwiseModel,
    Progress,
    get_submodule,
    no_progress,
)
from mlx_deepseek_convert.quality.report import Wanted, sequences
from mlx_deepseek_convert.quality.rounding import Grid, Rounded, round_plainly, round_with_feedback
from mlx_deepseek_convert.quality.states import run_layer
from mlx_deepseek_convert.quality.texts import ScoredBatch
from mlx_deepseek_convert.source.checkpoint import Source
from mlx_deepseek_convert.source.lora import Merged
from mlx_deepseek_convert.write.disk import replace_folder, write_at, write_json
from mlx_deepseek_convert.write.preflight import check_target, real_target
from mlx_deepseek_convert.write.run import Report, execute

Observe = Callable[[Any, Collection[str]], Mapping[str, Inputs]]


WEIGHTS_AT_ONCE = 1 << 26  # of a stack of experts


def calibrate(
    source: Path,
    converted: Path,
    batches: Sequence[ScoredBatch],
    *,
    feedback: bool = True,
    progress: Progress = no_progress,
) -> None:
    """Overwrite the affine weights of the checkpoint in folder `converted` with better ones.

    `source` is what it was made of, `batches` the sequences to round for; without `feedback` only
    scales and biases are chosen by them. MTP layers stay as they are.

    Raises:
        CheckpointError: the folders are not a source and its conversion.
    """
    original = LayerwiseModel(source, unquantized=True)
    work = _Calibration(original, LayerwiseModel(converted), Tensors(converted), feedback)
    if work.source.layers != work.converted.layers:
        raise CheckpointError(
            f"{converted}: has other layers than {source}. Expected its conversion."
        )
    work.requantize(work.source.embedding, lambda embedding, paths: {})
    states = work.converted.begin(batches, work.converted.embed(batches))
    for done, path in enumerate(work.source.layers):
        work.requantize(path, partial(observe, states))
        with work.converted.part(path) as layer:
            states = run_layer(layer, states)
        progress(done + 1, len(work.source.layers))
    rows = [state.flatten(0, -2) for state in work.converted.finish(states)]
    if not work.source.tied:
        work.requantize(work.source.head, lambda head, paths: {"": Inputs(mx.concatenate(rows))})


class Tensors:
    """The tensors of a checkpoint's files, each to be overwritten where it lies."""

    def __init__(self, folder: Path):
        """Read the headers.

        Raises:
            CheckpointError: a file is missing or damaged.
        """
        self.infos: dict[str, TensorInfo] = {}
        for path in weight_files(folder):
            self.infos |= read_header(path)[0]

    def dtype(self, name: str) -> mx.Dtype:
        """A floating tensor's data type."""
        return DTYPES[self.infos[name].dtype].mlx

    def overwrite(self, name: str, slices: Sequence[mx.array]) -> None:
        """Put `slices` along the first axis, which together are the whole tensor, in its place."""
        info = self.infos[name]
        data = b"".join(bytes(memoryview(as_integers(value))) for value in slices)  # type: ignore[arg-type]
        if len(data) != info.nbytes:
            raise CheckpointError(
                f"{info.file}: {name!r} takes {info.nbytes} bytes, not {len(data)}."
            )
        write_at(info.file, info.start, data)


@dataclass(frozen=True)
class _Calibration:
    source: LayerwiseModel
    converted: LayerwiseModel
    tensors: Tensors
    feedback: bool

    def requantize(self, part: str, observed: Observe) -> None:
        """Round the affine modules of a part for the inputs that are `observed`."""
        targets = dict(affine_modules(get_submodule(self.converted.model, part)))
        if not targets:
            return
        with self.source.part(part) as original:
            inputs = observed(original, targets)
            for path, module in targets.items():
                weight = (get_submodule(original, path) if path else original).weight
                self._write(f"{part}.{path}" if path else part, weight, module, inputs.get(path))

    def _write(self, path: str, weight: mx.array, module: Any, inputs: Inputs | None) -> None:
        grid = Grid(module.bits, module.group_size, self.tensors.dtype(f"{path}.scales"))
        stored = [rounded.stored(grid) for rounded in self._rounded(weight, grid, inputs)]
        for which, kind in enumerate(("weight", "scales", "biases")):
            self.tensors.overwrite(f"{path}.{kind}", [slices[which] for slices in stored])

    def _rounded(self, weight: mx.array, grid: Grid, inputs: Inputs | None) -> Iterator[Rounded]:
        """Slice after slice along the first axis; rows, heads or experts are independent."""
        step = max(1, WEIGHTS_AT_ONCE // (weight.size // len(weight)))
        for start in range(0, len(weight), step):
            some = weight[start : start + step].astype(mx.float32)
            if inputs is None:
                yield round_plainly(some, grid)
                continue
            routed = inputs.experts is not None
            moments = inputs.moments(range(start, start + len(some)) if routed else None)
            if self.feedback:
                yield round_with_feedback(some, grid, moments)
            else:
                diagonal = mx.diagonal(moments, axis1=-2, axis2=-1)
                yield round_plainly(some, grid, diagonal)


def affine_modules(part: nn.Module) -> Iterator[tuple[str, Any]]:
    """Paths and modules of a part's affine quantized weights; "" for the part itself."""
    for path, module in part.named_modules():
        if getattr(module, "mode", None) == "affine":
            yield path, module


def convert_calibrated(
    plan: Plan,
    target: Path,
    wanted: Wanted,
    *,
    feedback: bool = True,
    overwrite: bool = False,
    allow_nonfinite: bool = False,
    progress: ConversionProgress = lambda stage, done, total: None,
) -> Report:
    """Run a plan and round its affine weights for the sequences that `wanted` names.

    `progress` gets "convert" or "calibrate", and bytes. Works in the folder `<target>.plain`, which
    is removed whatever happens.

    Raises:
        CheckpointError, ConfigError: as converting, or the source is not whole on this machine.
    """
    began = time.monotonic()
    check_calibration(plan.source)
    target = real_target(target)
    check_target(plan.source, target, overwrite)
    batches = sequences(plan.source.folder, wanted, held_out=False)
    plain = target.with_name(f"{target.name}.plain")

    def rounding(done: int, layers: int) -> None:
        progress("calibrate", done * plan.bytes_out // layers, plan.bytes_out)

    try:
        report = execute(
            plan,
            plain,
            overwrite=True,
            progress=lambda done, total: progress("convert", done, total),
        )
        calibrate(plan.source.folder, plain, batches, feedback=feedback, progress=rounding)
        text = str(wanted.text.name) if wanted.text else "built in"
        tokens = sum(batch.ids.size for batch in batches)
        checksums = _note(plain, {"text": text, "tokens": tokens, "feedback": feedback})
        replace_folder(plain, target, target.with_name(f"{target.name}.replaced"))
    finally:
        shutil.rmtree(plain, ignore_errors=True)
    seconds = time.monotonic() - began
    return replace(report, target=target, checksums=checksums, seconds=seconds)


def check_calibration(source: Source, *, with_adapter: bool = False) -> None:
    """Refuse what cannot be calibrated, before anything long.

    Raises:
        ConfigError: a source that is not here, or with an adapter.
    """
    if source.remote is not None:
        raise ConfigError(
            f"{source.remote.repo}: calibration reads every layer several times. Download the "
            "checkpoint first (`hf download`), then convert its folder."
        )
    if with_adapter or any(isinstance(t, Merged) for t in source.tensors.values()):
        raise ConfigError(
            "Calibration cannot see an adapter. Convert with the adapter and recipe bf16 first, "
            "then calibrate a conversion of that folder."
        )


def _note(folder: Path, calibration: dict[str, Any]) -> dict[str, str]:
    """Write the calibration and the weights' new checksums to the record."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    record["calibration"] = calibration
    for name in record["sha256"]:
        with (folder / name).open("rb") as file:
            record["sha256"][name] = hashlib.file_digest(file, "sha256").hexdigest()
    write_json(folder / RECORD, record)
    with (folder / "README.md").open("a", encoding="utf-8") as card:
        card.write(f"Rounded for the outputs on {calibration['tokens']:,} tokens of text.\n")
    return record["sha256"]
