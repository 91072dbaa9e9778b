"""Round a conversion's weights again for the inputs they get: other values, the same format.

Layer by layer, in the order of the computation, each layer seeing the inputs that the quantized
layers before it produce. Tensors are overwritten in their files: names, shapes and places stay.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from mlx_deepseek.checkpoint import weight_files
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.tensor_file import TensorInfo, read_header
from mlx_deepseek_convert.files import write_at
from mlx_deepseek_convert.outputs import DTYPES, as_integers
from mlx_deepseek_convert.quality.layerwise import Progress, Stream, at, silent, through
from mlx_deepseek_convert.quality.observe import Inputs, observe
from mlx_deepseek_convert.quality.rounding import (
    Grid,
    Rounded,
    round_plainly,
    round_with_feedback,
)
from mlx_deepseek_convert.quality.texts import Batch

Observe = Callable[[Any, Collection[str]], Mapping[str, Inputs]]
WEIGHTS_AT_ONCE = 1 << 26  # of a stack of experts


def calibrate(
    source: Path,
    converted: Path,
    batches: Sequence[Batch],
    *,
    feedback: bool = True,
    progress: Progress = silent,
) -> None:
    """Overwrite the affine weights of the checkpoint in folder `converted` with better ones.

    `source` is what it was made of, `batches` the sequences to round for; without `feedback` only
    scales and biases are chosen by them. MTP layers stay as they are.

    Raises:
        CheckpointError: the folders are not a source and its conversion.
    """
    original = Stream(source, unquantized=True)
    work = _Calibration(original, Stream(converted), Tensors(converted), feedback)
    if work.source.layers != work.converted.layers:
        raise CheckpointError(
            f"{converted}: has other layers than {source}. Expected its conversion."
        )
    work.settle(work.source.embedding, lambda embedding, paths: {})
    states = work.converted.embed(batches)
    for done, path in enumerate(work.source.layers):
        work.settle(path, partial(observe, states))
        with work.converted.part(path) as layer:
            states = through(layer, states)
        progress(done + 1, len(work.source.layers))
    with work.converted.part(work.converted.norm) as norm:
        rows = [norm(state).flatten(0, -2) for state in states]
    if not work.source.tied:
        work.settle(work.source.head, lambda head, paths: {"": Inputs(mx.concatenate(rows))})


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
        return DTYPES[self.infos[name].dtype]

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
    source: Stream
    converted: Stream
    tensors: Tensors
    feedback: bool

    def settle(self, part: str, observed: Observe) -> None:
        """Round the affine modules of a part for the inputs that are `observed`."""
        targets = dict(affine_modules(at(self.converted.model, part)))
        if not targets:
            return
        with self.source.part(part) as original:
            inputs = observed(original, targets)
            for path, module in targets.items():
                weight = (at(original, path) if path else original).weight
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
