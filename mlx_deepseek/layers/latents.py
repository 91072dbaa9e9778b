"""What MLA attends to: one row per token, plain or quantized (arXiv:2405.04434 §2.1.2).

A row is the normalised latent (R numbers), then the rotated key that all heads share (P numbers).
Attention needs four operations on rows; each form does them in its own way. The quantized form
multiplies packed numbers directly, so that decoding never holds a full-precision copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

# Of the scales and biases of quantized rows: more precision than the rows' own gains nothing.
SCALE_DTYPE = mx.bfloat16

Packed = Sequence[mx.array]  # numbers, scales, biases


@dataclass(frozen=True)
class Rows:
    """Rows [B, 1, S, W] as they were computed."""

    array: mx.array

    @property
    def length(self) -> int:
        """S, tokens in the cache."""
        return self.array.shape[2]

    def scores(self, queries: mx.array) -> mx.array:
        """Products [B, 1, M, S] of queries [B, 1, M, W] with every row."""
        return queries @ self.array.swapaxes(-1, -2)

    def mix(self, weights: mx.array, width: int) -> mx.array:
        """Sums [B, 1, M, width] of the rows' first numbers, weighted by [B, 1, M, S]."""
        return weights @ self.array[..., :width]

    def take(self, chosen: mx.array, dtype: mx.Dtype) -> mx.array:
        """Rows [B, L, K, W] at the places `chosen` [B, L, K]."""
        return take(self.array, chosen).astype(dtype)

    def dense(self, dtype: mx.Dtype) -> mx.array:
        """All rows [B, 1, S, W]."""
        return self.array.astype(dtype)


@dataclass(frozen=True)
class Packing:
    """How `width` numbers are stored: `bits` each, in groups with a scale and a bias."""

    width: int
    bits: int
    group_size: int

    def pack(self, x: mx.array) -> list[mx.array]:
        """Numbers x [..., width], packed."""
        x = x.astype(SCALE_DTYPE)
        return list(mx.quantize(x, group_size=self.group_size, bits=self.bits))

    def unpack(self, packed: Packed, dtype: mx.Dtype) -> mx.array:
        """Numbers [..., width]."""
        numbers, scales, biases = packed
        scales, biases = scales.astype(dtype), biases.astype(dtype)
        return mx.dequantize(numbers, scales, biases, group_size=self.group_size, bits=self.bits)

    def product(self, x: mx.array, packed: Packed, *, transpose: bool) -> mx.array:
        """x times the packed matrix."""
        return mx.quantized_matmul(
            x, *packed, transpose=transpose, group_size=self.group_size, bits=self.bits
        )

    @property
    def nbytes(self) -> int:
        """Bytes of one row."""
        return self.width * self.bits // 8 + self.width // self.group_size * 2 * SCALE_DTYPE.size


@dataclass(frozen=True)
class PackedRows:
    """The same rows, quantized in parts that lie side by side."""

    parts: Sequence[Packed]
    packings: Sequence[Packing]

    @property
    def length(self) -> int:
        """As `Rows.length`."""
        return self.parts[0][0].shape[2]

    def scores(self, queries: mx.array) -> mx.array:
        """As `Rows.scores`."""
        total, start = mx.array(0, queries.dtype), 0
        for part, packing in zip(self.parts, self.packings, strict=True):
            query = queries[..., start : start + packing.width]
            total = total + packing.product(query, part, transpose=True)
            start += packing.width
        return total

    def mix(self, weights: mx.array, width: int) -> mx.array:
        """As `Rows.mix`; `width` is that of the first part."""
        assert width == self.packings[0].width
        return self.packings[0].product(weights, self.parts[0], transpose=False)

    def take(self, chosen: mx.array, dtype: mx.Dtype) -> mx.array:
        """As `Rows.take`."""
        taken = [[take(array, chosen) for array in part] for part in self.parts]
        return self._unpack(taken, dtype)

    def dense(self, dtype: mx.Dtype) -> mx.array:
        """As `Rows.dense`: for reading a prompt, one layer at a time."""
        return self._unpack(self.parts, dtype)

    def _unpack(self, parts: Sequence[Packed], dtype: mx.Dtype) -> mx.array:
        pairs = zip(parts, self.packings, strict=True)
        return mx.concatenate([packing.unpack(part, dtype) for part, packing in pairs], axis=-1)


def take(array: mx.array, chosen: mx.array) -> mx.array:
    """[B, L, K, W] of [B, 1, S, W] at the places `chosen` [B, L, K]."""
    if array.shape[0] == 1:
        return array[0, 0][chosen]
    return array[mx.arange(array.shape[0])[:, None, None], 0, chosen]
