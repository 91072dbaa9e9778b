"""Batches of pictures and answers, drawn in processes beside the trainer's."""

import multiprocessing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from mlx_deepseek.nano.ocr.config import VIEW_PX
from mlx_deepseek.nano.ocr.pictures import KINDS, PATCH_PX, Example, example
from mlx_deepseek.nano.ocr.tokenizer import BOS, EOS, IMAGE, build_tokenizer
from mlx_deepseek.vision.tiling.pixels import fitted

PAD_ID = 2
# Examples that are sorted by length before they are cut into batches.
POOL = 8
# Lengths are multiples of this, since each new one is compiled anew.
ROUND = 8


@dataclass(frozen=True)
class PictureBatch:
    """Pictures uint8 [B, px, px, 3], tokens int32 [B, L], lengths [B] of prompts and of rows.

    Rows begin with BOS, one token for the picture (which the trainer expands) and the question.
    `patches` [B, side, side] are the characters in the middle of patches, PAD_ID where there is
    none.
    """

    pictures: np.ndarray
    ids: np.ndarray
    prompt: np.ndarray
    total: np.ndarray
    kinds: tuple[str, ...]
    patches: np.ndarray


def labelled(tokenizer: Tokenizer, item: Example) -> np.ndarray:
    """The character in the middle of each patch of a picture."""
    side = VIEW_PX // PATCH_PX
    labels = np.full((side, side), PAD_ID, np.int32)
    scale = VIEW_PX / max(item.picture.size)
    shift = [(VIEW_PX - length * scale) / 2 for length in item.picture.size]
    middles = (np.arange(side) + 0.5) * PATCH_PX
    across, down = ((middles - start) / scale for start in shift)
    for character, left, top, right, bottom in item.glyphs:
        rows = (down >= top) & (down < bottom)
        columns = (across >= left) & (across < right)
        if character != " ":
            labels[np.ix_(rows, columns)] = tokenizer.token_to_id(character) or PAD_ID
    return labels


def encode(tokenizer: Tokenizer, item: Example) -> tuple[list[int], list[int]]:
    """Tokens of an example's prompt, as the engine renders it, and of its answer."""

    def ids(text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    return ids(f"{BOS}{IMAGE}\n{item.question}"), ids(item.answer + EOS)


def collate(tokenizer: Tokenizer, items: list[Example]) -> PictureBatch:
    """Examples as one batch, padded on the right."""
    coded = [encode(tokenizer, item) for item in items]
    rows = [prompt + answer for prompt, answer in coded]
    longest = -(-max(map(len, rows)) // ROUND) * ROUND
    ids = np.full((len(rows), longest), PAD_ID, np.int32)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    return PictureBatch(
        np.stack([np.asarray(fitted(item.picture, (VIEW_PX, VIEW_PX))) for item in items]),
        ids,
        np.array([len(prompt) for prompt, _ in coded], np.int32),
        np.array([len(row) for row in rows], np.int32),
        tuple(item.kind for item in items),
        np.stack([labelled(tokenizer, item) for item in items]),
    )


def draw(rng: Random, size: int, shares: Mapping[str, float], easy: float) -> list[PictureBatch]:
    """POOL batches of `size`, alike in length; half are as hard as asked, half easier."""
    tokenizer = build_tokenizer()
    kinds = rng.choices(KINDS, [shares[kind] for kind in KINDS], k=POOL * size)
    items = [example(rng, kind, easy=1 - (1 - easy) * min(1, 2 * rng.random())) for kind in kinds]
    items.sort(key=lambda item: len(item.answer))
    batches = [collate(tokenizer, items[i : i + size]) for i in range(0, len(items), size)]
    rng.shuffle(batches)
    return batches


def _work(seed: int, size: int, wanted: Any, queue: Any) -> None:
    rng = Random(seed)
    while True:
        shares = dict(zip(KINDS, wanted[1:], strict=True))
        for batch in draw(rng, size, shares, wanted[0]):
            queue.put(batch)


class EndlessBatches:
    """Batches without end; `easy` and `shares` may be changed while they are drawn."""

    def __init__(self, seed: int, size: int, workers: int = 1):
        context = multiprocessing.get_context("spawn")
        self._wanted = context.Array("d", [1.0] * (1 + len(KINDS)))
        self._queue = context.Queue(2 * POOL)
        self._workers = [
            context.Process(
                target=_work, args=(seed * 100 + n, size, self._wanted, self._queue), daemon=True
            )
            for n in range(workers)
        ]

    def ask(self, easy: float, shares: Mapping[str, float]) -> None:
        """How hard the next examples are, and how often each kind comes."""
        self._wanted[:] = [easy, *(shares[kind] for kind in KINDS)]

    def __iter__(self) -> Iterator[PictureBatch]:
        """Draw until closed."""
        for worker in self._workers:
            worker.start()
        while True:
            yield self._queue.get()

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.terminate()
