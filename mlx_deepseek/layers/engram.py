"""Engram: rows of large tables, looked up by the last few tokens (arXiv:2601.07372, 2609.19969).

Each position's 2-grams, 3-grams, ... are hashed, `heads` times each, to rows of one table per
layer. A projection of the rows gives one key per copy of the residual stream and a value for all; a
gate says how well key and copy agree. Numbers of tokens that read alike are made one before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

PICTURE = -1  # in place of a compressed token number: no n-gram goes over it
CLAMP = 1e-6  # least |agreement| under the gate's root
SEED = 10_007  # times the layer's number: of the multipliers


@dataclass(frozen=True)
class HashConfig:
    """How the n-grams of 2 to `longest` tokens become rows of a layer's table.

    `sizes` [longest - 1, heads] are primes, each the rows of one n-gram length and head;
    `multipliers` belong to the newest token, the one before it, and so on. `pad` is a token, and
    tokens are of `vocab` classes.
    """

    sizes: tuple[tuple[int, ...], ...]
    multipliers: tuple[int, ...]
    pad: int
    vocab: int

    @property
    def longest(self) -> int:
        """Tokens of the longest n-gram."""
        return len(self.multipliers)

    @property
    def columns(self) -> int:
        """Rows looked up per position."""
        return sum(map(len, self.sizes))


@dataclass(frozen=True)
class EngramConfig:
    """A table of `rows` x `dim` for a stream of `copies` x `hidden`."""

    hidden: int
    copies: int
    rows: int
    dim: int
    eps: float
    hash: HashConfig


class Engram(nn.Module):
    """Adds what the last tokens call to mind to every copy of the residual stream.

    It hashes classes of tokens, which the tokenizer tells: `attach` them before the first call.
    """

    def __init__(self, config: EngramConfig):
        super().__init__()
        self.config = c = config
        self.embed: Any = nn.Embedding(c.rows, c.dim)
        self.kv_proj = nn.Linear(c.hash.columns * c.dim, c.hidden * (c.copies + 1), bias=False)
        self.q_weight = mx.ones((c.copies, c.hidden))
        self.k_weight = mx.ones((c.copies, c.hidden))
        self._token_map: np.ndarray | None = None

    def attach(self, token_map: np.ndarray) -> None:
        """Take each token's class [vocab]."""
        self._token_map = token_map

    @property
    def looks_back(self) -> int:
        """Tokens before a token that its longest n-gram takes in."""
        return self.config.hash.longest - 1

    def compress(self, ids: mx.array, pictures: mx.array | None) -> mx.array:
        """Compressed token numbers [B, L, 1], PICTURE where a picture is."""
        assert self._token_map is not None, "the tokenizer's map is missing"
        compressed = mx.array(self._token_map)[ids]
        if pictures is not None:
            compressed = mx.where(pictures, PICTURE, compressed)
        return compressed[..., None].astype(mx.int32)

    def __call__(self, copies: mx.array, history: mx.array) -> mx.array:
        """Copies [B, L, M, D] with what was looked up; `history` [B, S, 1] ends with the L tokens.

        It is compressed, and longer than L by as many tokens as the longest n-gram looks back to,
        or begins with the first token of all. Pictures take nothing.
        """
        c, L = self.config, copies.shape[1]
        tokens = np.array(history[..., 0], np.int64)
        rows = self.embed(mx.array(row_numbers(c.hash, self._pad, tokens, L)))  # [B, L, n, dim]
        rows = rows.astype(copies.dtype)  # FP8 comes out as bfloat16
        # [B, L, M D] and [B, L, D]
        keys, value = mx.split(self.kv_proj(rows.flatten(-2)), [c.copies * c.hidden], axis=-1)
        keys = mx.unflatten(keys, -1, (c.copies, c.hidden))  # [B, L, M, D]
        weight = self.q_weight.astype(mx.float32) * self.k_weight.astype(mx.float32)
        gates = agreement(copies, keys, weight, c.eps)  # [B, L, M]
        text = mx.array(tokens[:, -L:] != PICTURE)
        gates = mx.where(text[..., None], gates, 0.0)
        return (copies + gates[..., None] * value[..., None, :]).astype(copies.dtype)

    @property
    def _pad(self) -> int:
        assert self._token_map is not None, "the tokenizer's map is missing"
        return int(self._token_map[self.config.hash.pad])


@mx.compile
def agreement(copies: mx.array, keys: mx.array, weight: mx.array, eps: float) -> mx.array:
    """Gates [B, L, M] of copies and keys [B, L, M, D], in float32: a root softens the sigmoid."""
    copies, keys = copies.astype(mx.float32), keys.astype(mx.float32)
    spread = copies.square().mean(-1) + eps, keys.square().mean(-1) + eps
    # [B, L, M]
    dot = (copies * weight * keys).sum(-1) * mx.rsqrt(spread[0]) * mx.rsqrt(spread[1])
    dot = dot * copies.shape[-1] ** -0.5
    root = mx.sqrt(mx.maximum(mx.abs(dot), CLAMP))
    return mx.sigmoid(mx.where(dot >= 0, root, -root))


def row_numbers(config: HashConfig, pad: int, tokens: np.ndarray, new: int) -> np.ndarray:
    """Rows [B, new, columns] for the last `new` of compressed `tokens` [B, S].

    2-grams' heads first. Slots before the first token, and beyond a picture, hold `pad`.
    """
    batch = tokens.shape[0]
    before = np.full((batch, config.longest - 1), PICTURE)
    padded = np.concatenate([before, tokens], axis=1)  # [B, longest - 1 + S]
    blocked = np.zeros((batch, new), bool)
    rolling = np.zeros((batch, new), np.int64)
    columns, start = [], 0
    for back, multiplier in enumerate(config.multipliers):
        end = padded.shape[1] - back
        slot = padded[:, end - new : end]  # [B, new]
        blocked = blocked | (slot == PICTURE)
        rolling = rolling ^ np.where(blocked, pad, slot) * multiplier
        for size in config.sizes[back - 1] if back else ():
            columns.append(rolling % size + start)
            start += size
    return np.stack(columns, axis=-1)


def table_sizes(layers: int, longest: int, heads: int, least: int) -> list[tuple[tuple[int, ...]]]:
    """Sizes [longest - 1, heads] of each layer's parts: primes from `least` on, none used twice."""
    used: set[int] = set()

    def next_prime(number: int) -> int:
        while number in used or any(number % d == 0 for d in range(2, int(number**0.5) + 1)):
            number += 1
        used.add(number)
        return number

    return [
        tuple(_ascending(next_prime, least, heads) for _ in range(longest - 1))  # type: ignore[misc]
        for _ in range(layers)
    ]


def _ascending(next_prime: Any, least: int, heads: int) -> tuple[int, ...]:
    sizes: list[int] = []
    for _ in range(heads):
        sizes.append(next_prime(sizes[-1] + 1 if sizes else least))
    return tuple(sizes)


def multipliers(layer: int, longest: int, vocab: int) -> tuple[int, ...]:
    """Odd factors, so small that no product with one of `vocab` numbers leaves 64 bits."""
    bound = max(1, np.iinfo(np.int64).max // vocab // 2)
    generator = np.random.default_rng(SEED * layer)
    return tuple(int(n) * 2 + 1 for n in generator.integers(0, bound, longest, dtype=np.int64))


def classes(keys: Sequence[str]) -> np.ndarray:
    """Each token's compressed number, of what it reads as: numbers in order of appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int32)
