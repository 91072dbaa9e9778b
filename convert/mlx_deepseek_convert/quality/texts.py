"""Token sequences to measure and calibrate on: a text, or the embedded models' own exercises."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import mlx.core as mx

from mlx_deepseek import models
from mlx_deepseek.catalog.embedded import NANO, NANO_OCR
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.generation.prompt_images import PlacedImages, PromptImages
from mlx_deepseek.nano.ocr.data import encode
from mlx_deepseek.nano.ocr.evaluate import held_out as unseen
from mlx_deepseek.nano.ocr.pictures import KINDS, Example, example
from mlx_deepseek.nano.ocr.tokenizer import IMAGE, build_tokenizer
from mlx_deepseek.nano.tasks import FAMILIES, asked, evaluation_problems, reply, training_problem
from mlx_deepseek.nano.tasks.problem import Problem, plain
from mlx_deepseek.nano.text.evaluate import by_length
from mlx_deepseek.nano.text.tokenizer import BOS

ROWS = 8  # sequences per batch


@dataclass(frozen=True)
class ScoredBatch:
    """Sequences ids [B, L] without padding; tokens from position `first` [B] on are scored.

    Negative numbers are places of the pictures in `images`.
    """

    ids: mx.array
    first: mx.array
    images: PlacedImages = field(default_factory=dict)

    @property
    def scored(self) -> mx.array:
        """Which positions predict a token that counts, [B, L - 1]."""
        return mx.arange(1, self.ids.shape[1]) >= self.first[:, None]


def sample_text() -> str:
    """The text that comes with the package: prose, dialogue, code, mathematics, two languages."""
    return (files("mlx_deepseek_convert.quality") / "sample.txt").read_text(encoding="utf-8")


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        DeepSeekError: it cannot be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DeepSeekError(f"{path}: cannot be read as text ({error}).") from error


def of_text(
    text: str, tokenizer: Any, length: int = 512, limit: int | None = None
) -> list[ScoredBatch]:
    """The text's first `limit` tokens in sequences of `length`, each after the tokenizer's BOS.

    Raises:
        DeepSeekError: the text has fewer than two tokens.
    """
    tokens = tokenizer.encode(text, add_special_tokens=False)[:limit]
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    step = length - len(start)
    rows = [start + tokens[i : i + step] for i in range(0, len(tokens), step)]
    rows = [row for row in rows if len(row) > len(start) + 1]
    if not rows:
        raise DeepSeekError("The text is too short to measure anything. Expected a page or more.")
    return of_rows(rows, [max(1, len(start))] * len(rows))


def of_nano(
    tokenizer: Any, config: Mapping[str, Any], count: int, *, held_out: bool, seed: int = 0
) -> list[ScoredBatch]:
    """`count` worked exercises of each of nano's families; their replies are scored.

    `held_out`: those that training and calibration never see.
    """
    rows, starts = [], []
    for family in FAMILIES:
        for problem in _problems(family, count, held_out, seed):
            head = tokenizer.encode(BOS + asked(problem.question), add_special_tokens=False)
            tail = tokenizer.encode(plain(reply(problem)), add_special_tokens=False)
            rows.append(head + tail)
            starts.append(len(head))
    return of_rows(rows, starts)


def of_nano_ocr(
    tokenizer: Any, config: Mapping[str, Any], count: int, *, held_out: bool, seed: int = 0
) -> list[ScoredBatch]:
    """`count` pictures of each of nano-ocr's kinds; their right answers are scored.

    Raises:
        DeepSeekError: no font to draw them is installed.
    """
    model: Any = models.build(config)
    tokenizer, encoder = build_tokenizer(), PromptImages(model)
    rows, starts, images = [], [], {}
    for kind in KINDS:
        for item in _pictures(kind, count, held_out, seed):
            head, tail = encode(tokenizer, item)
            head, placed = encoder.place(head, tokenizer.token_to_id(IMAGE), [item.picture])
            rows.append(head + tail)
            starts.append(len(head))
            images |= placed
    return of_rows(rows, starts, images)


# What the embedded models are measured on.
EXERCISES: Mapping[str, Callable[..., list[ScoredBatch]]] = {NANO: of_nano, NANO_OCR: of_nano_ocr}


def _pictures(kind: str, count: int, held_out: bool, seed: int) -> list[Example]:
    if held_out:
        return list(unseen(kind, count))
    rng = Random(f"{seed} {kind}")
    return [example(rng, kind) for _ in range(count)]


def _problems(family: str, count: int, held_out: bool, seed: int) -> list[Problem]:
    if held_out:
        return evaluation_problems(family, count, seed)
    rng = Random(seed)
    return [training_problem(family, rng) for _ in range(count)]


def of_rows(
    rows: Sequence[list[int]], first: Sequence[int], images: PlacedImages | None = None
) -> list[ScoredBatch]:
    """Rows of equal length together; each is scored from its `first` position on."""
    batches = []
    for group in by_length(rows):
        for start in range(0, len(group), ROWS):
            some = group[start : start + ROWS]
            ids = mx.array([rows[i] for i in some])
            batches.append(ScoredBatch(ids, mx.array([first[i] for i in some]), images or {}))
    return batches
