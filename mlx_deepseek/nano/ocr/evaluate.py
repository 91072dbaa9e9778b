"""How well a model reads: character errors on held-out pictures, beside an independent judge."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from PIL.Image import Image

from mlx_deepseek.documents.blocks import parse
from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek.nano.ocr.pictures import APART, KINDS, MARKDOWN, Example, example

# Apart from every training run's seeds.
SEED = 1 << 30
# Boxes that overlap so much count as found.
FOUND = 0.5

Reader = Callable[[Image, str], str]


@dataclass
class ReadingScore:
    """Of one kind: characters and errors of the texts, pictures read without any error."""

    kind: str
    pictures: int = 0
    characters: int = 0
    errors: int = 0
    perfect: int = 0
    boxes: int = 0
    found: int = 0

    @property
    def error_rate(self) -> float:
        """Character errors by the length of the right texts."""
        return self.errors / max(self.characters, 1)


def held_out(kind: str, count: int) -> Iterable[Example]:
    """Pictures of texts that no training saw."""
    rng = Random(f"{SEED} {kind}")
    for _ in range(count):
        yield example(rng, kind, held_out=True)


def evaluate(
    read: Reader, count: int, kinds: Sequence[str] = (*KINDS, *APART)
) -> Iterator[ReadingScore]:
    """`count` pictures of each kind, read one after the other."""
    for kind in kinds:
        score = ReadingScore(kind)
        for item in held_out(kind, count):
            judge(score, item, read(item.picture, item.question))
        yield score


def reader(engine: Any) -> Reader:
    """A function that has the engine's model read a picture."""

    def read(picture: Image, question: str) -> str:
        return engine.generate(
            question, images=[picture], max_tokens=160, sampling=Sampling(temperature=0.0)
        ).text

    return read


def judge(score: ReadingScore, item: Example, answer: str) -> None:
    """Add one answer: its words, and its box where the right answer has one."""
    right, given = words(item.answer, item), words(answer, item)
    distance = edit_distance(given, right)
    score.pictures += 1
    score.characters += len(right)
    score.errors += distance
    score.perfect += not distance
    box = box_of(item.answer, item)
    if box is not None:
        score.boxes += 1
        guess = box_of(answer, item)
        score.found += guess is not None and overlap(box, guess) >= FOUND


def words(answer: str, item: Example) -> str:
    """The text of an answer without marks and boxes; of a located phrase nothing is left."""
    if item.kind == "locate":
        return ""
    return "\n".join(block.words for block in parse(answer, item.picture.size)).strip()


def box_of(answer: str, item: Example) -> tuple[int, int, int, int] | None:
    """The first box in pixels."""
    for block in parse(answer, item.picture.size):
        for box in block.boxes:
            return box
    return None


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """The common part of two boxes by their union."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / both if both > 0 else 0.0


def edit_distance(a: str, b: str) -> int:
    """Characters to insert, delete or replace (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def tesseract(picture: Image, question: str) -> str:
    """The same picture read by tesseract, three times enlarged, which it needs.

    Raises:
        DeepSeekError: it is not installed.
    """
    program = shutil.which("tesseract")
    if program is None:
        raise DeepSeekError("tesseract is not installed. Expected Debian's tesseract-ocr.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.png"
        picture.resize((picture.width * 3, picture.height * 3)).save(path)
        run = subprocess.run(
            [program, str(path), "-", "--psm", "6"], capture_output=True, text=True, check=True
        )
    lines = [line.strip() for line in run.stdout.splitlines() if line.strip()]
    return as_table(lines) if question == MARKDOWN and "|" in run.stdout else "\n".join(lines)


def as_table(lines: Sequence[str]) -> str:
    """Lines with rules read as bars, as Markdown, so that only cells are judged."""
    rows = [[cell for cell in line.replace("|", " ").split()] for line in lines]
    head, *body = (f"| {' | '.join(row)} |" for row in rows) if rows else ("",)
    rule = "|" + " --- |" * (len(rows[0]) if rows else 0)
    return "\n".join((head, rule, *body))
