"""Everything that is measured of a conversion: distance to its source, and size."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.catalog import embedded
from mlx_deepseek.checkpoint.files import MTP_FILE, read_config, weight_files
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek.checkpoint.tokenizer import load_tokenizer
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.quality.layerwise import (
    LayerwiseModel,
    Progress,
    main_config,
    no_progress,
)
from mlx_deepseek_convert.quality.score import Quality, compare
from mlx_deepseek_convert.quality.texts import (
    EXERCISES,
    ScoredBatch,
    of_text,
    read_text,
    sample_text,
)
from mlx_deepseek_convert.quality.weight_errors import unusual_losses


@dataclass(frozen=True)
class Wanted:
    """What to measure on: a file's first `tokens` in sequences of `length`, or the default.

    Without a file, nano reads `count` held-out exercises per family with their answers, nano-ocr as
    many pictures per kind, others the sample.
    """

    text: Path | None = None
    tokens: int | None = None
    length: int = 512
    count: int = 20


@dataclass(frozen=True)
class Measured:
    """A conversion's figures; `warnings` name classes of weights that lost more than is usual."""

    quality: Quality
    bits_per_weight: float
    warnings: tuple[str, ...] = ()


def measure(
    source: Path, converted: Path, wanted: Wanted, progress: Progress = no_progress
) -> Measured:
    """Compare the checkpoint in folder `converted` with the one it was made of.

    Raises:
        DeepSeekError: a folder or the text cannot be read, or they are not the same model.
    """
    batches = sequences(source, wanted)
    quantized = LayerwiseModel(converted)
    quality = compare(LayerwiseModel(source), quantized, batches, progress)
    warnings = tuple(unusual_losses(LayerwiseModel(source, unquantized=True), quantized))
    return Measured(quality, bits_per_weight(converted), warnings)


def sequences(source: Path, wanted: Wanted, *, held_out: bool = True) -> list[ScoredBatch]:
    """What `wanted` means for a model; for calibration not `held_out`."""
    config = read_config(source)
    tokenizer = load_tokenizer(source, config)
    if tokenizer is None:
        raise CheckpointError(f"{source}: no tokenizer.json. Expected the original checkpoint.")
    own = EXERCISES.get(embedded.name_of(source) or "")
    if wanted.text is None and own is not None:
        return own(tokenizer, config, wanted.count, held_out=held_out)
    text = sample_text() if wanted.text is None else read_text(wanted.text)
    return of_text(text, tokenizer, wanted.length, wanted.tokens)


def bits_per_weight(folder: Path) -> float:
    """Bits in the files per parameter of the model, MTP layers left out of both."""
    files = [path for path in weight_files(folder) if path.name != MTP_FILE]
    stored = sum(info.nbytes for path in files for info in read_header(path)[0].values())
    parameters: Any = tree_flatten(models.build(main_config(folder)).parameters())
    shapes = [value.shape for _, value in parameters]
    return 8 * stored / sum(math.prod(shape) for shape in shapes)
