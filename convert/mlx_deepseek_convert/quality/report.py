"""Everything that is measured of a conversion: distance to its source, size, nano's exercises."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_deepseek import models, nano, nano_ocr
from mlx_deepseek.checkpoint import (
    MTP_FILE,
    load_model,
    read_config,
    weight_files,
)
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.loading import load_tokenizer
from mlx_deepseek.nano.evaluate import Coder, evaluate
from mlx_deepseek.nano_ocr.command import reader
from mlx_deepseek.nano_ocr.evaluate import evaluate as evaluate_reading
from mlx_deepseek.tensor_file import read_header
from mlx_deepseek_convert.quality.layerwise import Progress, Stream, main_config, silent
from mlx_deepseek_convert.quality.score import Quality, compare
from mlx_deepseek_convert.quality.texts import (
    Batch,
    of_nano,
    of_nano_ocr,
    of_text,
    read_text,
    sample_text,
)


@dataclass(frozen=True)
class Wanted:
    """What to measure on: a file's first `tokens` in sequences of `length`, or the default.

    Without a file, nano is asked `count` held-out exercises per family, and nano-ocr as many
    pictures per kind; others read the sample.
    """

    text: Path | None = None
    tokens: int | None = None
    length: int = 512
    count: int = 20


@dataclass(frozen=True)
class Measured:
    """A conversion's figures; with nano its right answers, with nano-ocr wrong characters (0-1)."""

    quality: Quality
    bits_per_weight: float
    nano_accuracy: float | None = None
    reading_errors: float | None = None


def measure(source: Path, converted: Path, wanted: Wanted, progress: Progress = silent) -> Measured:
    """Compare the checkpoint in folder `converted` with the one it was made of.

    Raises:
        DeepSeekError: a folder or the text cannot be read, or they are not the same model.
    """
    batches = sequences(source, wanted)
    quality = compare(Stream(source), Stream(converted), batches, progress)
    accuracy = right_answers(converted, wanted.count) if is_nano(source) else None
    errors = wrong_characters(converted, wanted.count) if is_nano_ocr(source) else None
    return Measured(quality, bits_per_weight(converted), accuracy, errors)


def sequences(source: Path, wanted: Wanted, *, held_out: bool = True) -> list[Batch]:
    """What `wanted` means for a model; for calibration not `held_out`."""
    config = read_config(source)
    if wanted.text is None and is_nano_ocr(source):
        model: Any = models.build(config)
        return of_nano_ocr(model, wanted.count, held_out=held_out)
    tokenizer = load_tokenizer(source, config)
    if tokenizer is None:
        raise CheckpointError(f"{source}: no tokenizer.json. Expected the original checkpoint.")
    if wanted.text is None and is_nano(source):
        return of_nano(tokenizer, wanted.count, held_out=held_out)
    text = sample_text() if wanted.text is None else read_text(wanted.text)
    return of_text(text, tokenizer, wanted.length, wanted.tokens)


def is_nano(source: Path) -> bool:
    """Whether a folder is the embedded model's."""
    return source.resolve() == nano.checkpoint_path().resolve()


def is_nano_ocr(source: Path) -> bool:
    """Whether a folder is the embedded reader's."""
    return source.resolve() == nano_ocr.checkpoint_path().resolve()


def bits_per_weight(folder: Path) -> float:
    """Bits in the files per parameter of the model, MTP layers left out of both."""
    files = [path for path in weight_files(folder) if path.name != MTP_FILE]
    stored = sum(info.nbytes for path in files for info in read_header(path)[0].values())
    parameters: Any = tree_flatten(models.build(main_config(folder)).parameters())
    shapes = [value.shape for _, value in parameters]
    return 8 * stored / sum(math.prod(shape) for shape in shapes)


def right_answers(folder: Path, count: int) -> float:
    """Part of nano's held-out exercises, `count` of each family, that a conversion gets right."""
    model, config = load_model(folder, dtype=mx.float32)
    tokenizer = load_tokenizer(folder, config)
    assert tokenizer is not None
    coder = Coder(partial(tokenizer.encode, add_special_tokens=False), tokenizer.decode)
    scores = evaluate(model, coder, count)
    return sum(score.right for score in scores) / sum(score.asked for score in scores)


def wrong_characters(folder: Path, count: int) -> float:
    """Character errors of a conversion of nano-ocr on `count` held-out pictures of each kind."""
    read = reader(str(folder))
    scores = evaluate_reading(read, count, report=lambda score: None)
    return sum(score.errors for score in scores) / sum(score.characters for score in scores)
