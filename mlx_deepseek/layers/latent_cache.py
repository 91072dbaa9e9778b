"""The latent cache of one layer: mlx-lm's, with one row per token; and a quantized one.

"Keys" are rows [B, 1, S, R + P] of latent and rotated key. "Values" are the keys of the sparse
attention's indexer [B, 1, S, I], of width 0 without one. So whatever mlx-lm does with caches
(trimming, batching, saving, rotating) works on ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map, tree_reduce
from mlx_lm.models import cache as mlx_lm_cache
from mlx_lm.models.cache import create_attention_mask

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.latent_kv import QuantFormat, QuantizedLatentKV

BITS = (4, 8)
STEP = 256  # tokens by which a buffer grows
# A rotated key this much narrower than the latent takes 8 bits beside a 4-bit latent: a quarter
# of the divergence for a tenth more bytes (docs/measurements.md).
NARROW = 8


@dataclass(frozen=True)
class CacheFormat:
    """How rows are quantized: latent, then rotated key; and the indexer's keys."""

    row: tuple[QuantFormat, QuantFormat]
    index: QuantFormat | None

    @property
    def nbytes(self) -> int:
        """Bytes per token of one layer."""
        return sum(part.nbytes for part in self.row) + (self.index.nbytes if self.index else 0)


def cache_format(rank: int, rope_dims: int, index_dims: int, bits: int) -> CacheFormat:
    """The format of `bits` per number for rows of R = `rank` and P = `rope_dims`.

    The indexer's keys take 8 bits: what they choose is all that attention sees.

    Raises:
        ConfigError: other bits than 4 and 8, or widths that do not divide into groups.
    """
    if bits not in BITS:
        raise ConfigError(f"Cache bits are {bits}. Expected {' or '.join(map(str, BITS))}.")
    if bits == 4 and rope_dims * NARROW <= rank:
        row = quant_format(rank, 4, largest_group=128), quant_format(rope_dims, 8)
    else:
        row = quant_format(rank, bits), quant_format(rope_dims, bits)
    return CacheFormat(row, quant_format(index_dims, 8) if index_dims else None)


def quant_format(width: int, bits: int, largest_group: int = 64) -> QuantFormat:
    """The largest groups of at most `largest_group` numbers that divide `width`.

    Raises:
        ConfigError: not even 32 does.
    """
    for size in (128, 64, 32):
        if size <= largest_group and width % size == 0:
            return QuantFormat(width, bits, size)
    raise ConfigError(
        f"The latent cache cannot be quantized: a part of {width} numbers per token does not "
        "divide into groups of 32. Load the model without cache bits."
    )


class Reserving:
    """A cache that grows at once to the length that is known to come.

    To grow is to copy: for a moment the layer's tokens exist twice.
    """

    expected = 0

    def reserve(self, tokens: int) -> None:
        """Expect a prompt of so many tokens; room for it is made when there is need to grow.

        The first tokens of the answer have room, too: the longest prompt would be copied for them.
        """
        self.expected = tokens + STEP


class KVCache(Reserving, mlx_lm_cache.KVCache):
    """mlx-lm's KVCache; of the same class name, so that mlx-lm loads saved caches."""

    def __init__(self, rank: int, rope_dims: int, index_dims: int = 0):
        super().__init__()
        self.widths = rank, rope_dims, index_dims

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        """Append rows [B, 1, L, R + P] and the indexer's keys [B, 1, L, I]; all so far."""
        self.keys = append(self.keys, keys, self.offset, self.expected)
        if values.shape[-1]:
            self.values = append(self.values, values, self.offset, self.expected)
        # Nothing is written to an array of width 0; it only keeps the length mlx-lm expects.
        elif self.values is None or self.values.shape[2] != self.keys.shape[2]:
            self.values = mx.zeros((*self.keys.shape[:3], 0), values.dtype)
        self.offset += keys.shape[2]
        return self.keys_and_values()

    def to_quantized(self, group_size: int = 64, bits: int = 4) -> Any:
        """The same tokens quantized; groups are as the rows' widths allow.

        Raises:
            ConfigError: as `cache_format`.
        """
        packed = QuantizedLatentCache(cache_format(*self.widths, bits))
        if self.keys is not None:
            keys, values = self.keys_and_values()
            packed.update_and_fetch(keys, values)  # type: ignore[arg-type]
        return packed


class QuantizedLatentCache(Reserving):
    """Rows in a CacheFormat: trees of arrays with tokens along axis 2, like mlx-lm's own."""

    def __init__(self, format: CacheFormat):
        self.format = format
        self.keys: Any = None
        self.values: Any = None
        self.offset = 0

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Any, Any]:
        """Append rows [B, 1, L, R + P] and the indexer's keys [B, 1, L, I]; all so far."""
        parts = mx.split(keys, [self.format.row[0].width], axis=-1)  # [B, 1, L, R], [B, 1, L, P]
        new = [form.pack(part) for form, part in zip(self.format.row, parts, strict=True)]
        self.keys = append(self.keys, new, self.offset, self.expected)
        if self.format.index is not None:
            packed = self.format.index.pack(values)
            self.values = append(self.values, packed, self.offset, self.expected)
        elif self.values is None or self.values.shape[2] != self.keys[0][0].shape[2]:
            self.values = mx.zeros((*self.keys[0][0].shape[:3], 0), values.dtype)
        self.offset += keys.shape[2]
        return self.keys_and_values()

    def keys_and_values(self) -> tuple[Any, Any]:
        """The tokens so far, and the indexer's keys or an array of width 0."""
        keys, values = tree_map(lambda a: a[..., : self.offset, :], (self.keys, self.values))
        index = self.format.index
        if index is None:
            return QuantizedLatentKV(keys, self.format.row), values
        # Where all tokens are attended to, nothing else would ever compute the indexer's keys.
        keys[0][0] = mx.depends([keys[0][0]], list(values))[0]
        return QuantizedLatentKV(keys, self.format.row), QuantizedLatentKV([values], [index])

    @property
    def state(self) -> tuple[Any, ...]:
        """What there is to evaluate or copy."""
        return self.keys, self.values, self.offset

    @state.setter
    def state(self, state: Sequence[Any]) -> None:
        self.keys, self.values, self.offset = state

    @property
    def nbytes(self) -> int:
        """Bytes held, room to grow included."""
        return tree_reduce(lambda total, a: total + a.nbytes, (self.keys, self.values), 0)  # type: ignore[return-value]

    def size(self) -> int:
        """Tokens held."""
        return self.offset

    def empty(self) -> bool:
        """Whether nothing was ever appended."""
        return self.keys is None

    def is_trimmable(self) -> bool:
        """Rows do not depend on later ones."""
        return True

    def trim(self, n: int) -> int:
        """Forget the last n tokens; returns how many there were to forget."""
        n = min(self.offset, n)
        self.offset -= n
        return n

    def make_mask(self, *args: Any, **kwargs: Any) -> Any:
        """The causal mask, as mlx-lm's caches make it."""
        return create_attention_mask(*args, offset=self.offset, **kwargs)


def append(held: Any, new: Any, offset: int, expected: int = 0) -> Any:
    """Trees of buffers with `new` written from `offset` on, grown where needed.

    They grow in steps, or to the `expected` number of tokens.
    """

    def write(piece: mx.array, buffer: mx.array | None = None) -> mx.array:
        end = offset + piece.shape[2]
        if buffer is None or end > buffer.shape[2]:
            length = -(-max(end, expected) // STEP) * STEP
            grown = mx.zeros((*piece.shape[:2], length, piece.shape[3]), piece.dtype)
            if buffer is not None:
                grown[:, :, :offset] = buffer[:, :, :offset]
            buffer = grown
        buffer[:, :, offset:end] = piece
        return buffer

    return tree_map(write, new) if held is None else tree_map(write, new, held)
