"""An endless stream of training batches, rows of nearly equal length together."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

import numpy as np
from tokenizers import Tokenizer

from mlx_deepseek.nano.tasks import conversation
from mlx_deepseek.nano.text.tokenizer import encode_spelled

PAD_ID = 2
LENGTH_STEP = 16  # lengths are rounded up to a multiple, so that few shapes are compiled
LONGEST = 208

Row = tuple[list[int], int, str]  # ids, how many of them are the prompt, the family


@dataclass(frozen=True)
class TokenBatch:
    """Token ids [B, L] with the lengths of prompts and rows, and each row's family."""

    ids: np.ndarray
    prompt: np.ndarray
    total: np.ndarray
    families: list[str]


def batches(
    tokenizer: Tokenizer, weights: Mapping[str, float], tokens: int, seed: int
) -> Iterator[TokenBatch]:
    """Conversations in batches of about `tokens` ids; `weights` may change while it runs."""
    names = list(weights)

    def row(rng: Random, family: str) -> Row:
        prompt, reply = conversation(rng, family, names)
        head = tokenizer.encode(prompt, add_special_tokens=False).ids
        return head + encode_spelled(tokenizer, reply), len(head), family

    return packed(row, weights, tokens, seed, LONGEST)


def packed(
    row: Callable[[Random, str], Row],
    weights: Mapping[str, float],
    tokens: int,
    seed: int,
    longest: int,
) -> Iterator[TokenBatch]:
    """Rows of families, none over `longest`, in batches of about `tokens` ids with padding."""
    rng = Random(seed)
    names = list(weights)
    while True:
        drawn = rng.choices(names, [weights[n] for n in names], k=max(64, tokens // 4))
        rows = sorted((row(rng, family) for family in drawn), key=lambda row: len(row[0]))
        rows = [row for row in rows if len(row[0]) <= longest]
        pool = []
        while rows:
            width = _round_up(len(rows[-1][0]))
            count = max(1, tokens // width)
            if len(rows) >= count:  # the shortest few are left over, and drawn again later
                pool.append(_pack(rows[-count:], width))
            del rows[-count:]
        rng.shuffle(pool)
        yield from pool


def _pack(rows: list[Row], width: int) -> TokenBatch:
    ids = np.full((len(rows), width), PAD_ID, dtype=np.int32)
    for i, (tokens, _, _) in enumerate(rows):
        ids[i, : len(tokens)] = tokens
    prompt = np.array([row[1] for row in rows], dtype=np.int32)
    total = np.array([len(row[0]) for row in rows], dtype=np.int32)
    return TokenBatch(ids, prompt, total, [row[2] for row in rows])


def _round_up(length: int) -> int:
    return -(-length // LENGTH_STEP) * LENGTH_STEP
