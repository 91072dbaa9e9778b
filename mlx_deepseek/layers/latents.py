"""What MLA attends to: one row per token, plain or quantized (arXiv:2405.04434 §2.1.2).

A row is the normalised latent (R numbers), then the rotated key that all heads share (P numbers).
Attention needs four operations on rows; each form does them in its own way. The quantized form
multiplies packed numbers directly, so that decoding never holds a full-precision copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlx_deepseek.layers.device import on_gpu

# Of the scales and biases of quantized rows: more precision than the rows' own gains nothing.
SCALE_DTYPE = mx.bfloat16

Packed = Sequence[mx.array]  # numbers, scales, biases
Queries = Sequence[mx.array]  # for the latent and for the rotated key; or for all in one


class Rows:
    """Rows [B, 1, S, W] as they were computed.

    `also` is computed along with them: what a cache keeps beside them must not stay pending for
    ever, where nothing reads it.
    """

    def __init__(self, array: mx.array, also: mx.array | None = None):
        self.array = array if also is None else mx.depends([array], [also])[0]

    @property
    def length(self) -> int:
        """S, tokens in the cache."""
        return self.array.shape[2]

    def scores(self, queries: Queries, scale: float) -> mx.array:
        """Scaled products [B, 1, M, S] of queries [B, 1, M, R], [B, 1, M, P] with every row."""
        return dot(queries, self.array, scale)

    def mix(self, weights: mx.array, width: int) -> mx.array:
        """Sums [B, 1, M, width] of the rows' first numbers, weighted by [B, 1, M, S]."""
        return mix(weights, self.array, width)

    def take(self, chosen: mx.array, dtype: mx.Dtype) -> mx.array:
        """Rows [B, L, K, W] at the places `chosen` [B, L, K]."""
        return take(self.array, chosen).astype(dtype)

    def dense(self, dtype: mx.Dtype, tokens: slice = slice(None)) -> mx.array:
        """Some tokens' rows [B, 1, s, W]."""
        return self.array[:, :, tokens].astype(dtype)


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

    def scores(self, queries: Queries, scale: float) -> mx.array:
        """As `Rows.scores`."""
        triples = zip(queries, self.parts, self.packings, strict=True)
        return scaled_sum([p.product(q, part, transpose=True) for q, part, p in triples], scale)

    def mix(self, weights: mx.array, width: int) -> mx.array:
        """As `Rows.mix`; `width` is that of the first part."""
        assert width == self.packings[0].width
        return self.packings[0].product(weights, self.parts[0], transpose=False)

    def take(self, chosen: mx.array, dtype: mx.Dtype) -> mx.array:
        """As `Rows.take`."""
        taken = [[take(array, chosen) for array in part] for part in self.parts]
        return self._unpack(taken, dtype)

    def dense(self, dtype: mx.Dtype, tokens: slice = slice(None)) -> mx.array:
        """As `Rows.dense`."""
        some = [[array[:, :, tokens] for array in part] for part in self.parts]
        return self._unpack(some, dtype)

    def _unpack(self, parts: Sequence[Packed], dtype: mx.Dtype) -> mx.array:
        pairs = zip(parts, self.packings, strict=True)
        return mx.concatenate([packing.unpack(part, dtype) for part, packing in pairs], axis=-1)


AnyRows = Rows | PackedRows


def dot(queries: Queries, rows: mx.array, scale: float) -> mx.array:
    """Scaled products [..., M, S] of queries' parts [..., M, w] with rows [..., S, W]."""
    if len(queries) == 1 or not on_gpu():  # a CPU would copy the rows' parts
        return (mx.concatenate(list(queries), axis=-1) * scale) @ rows.swapaxes(-1, -2)
    latent, key = mx.split(rows.swapaxes(-1, -2), [queries[0].shape[-1]], axis=-2)
    # The second product adds the first and scales both: two kernels in all.
    return mx.addmm(queries[1] @ key, queries[0], latent, alpha=scale, beta=scale)


def mix(weights: mx.array, rows: mx.array, width: int) -> mx.array:
    """Sums [..., M, width] of rows [..., S, W], weighted by [..., M, S]."""
    if on_gpu():
        return weights @ rows[..., :width]
    return (weights @ rows)[..., :width]  # a CPU would copy a part of the rows


@mx.compile
def scaled_sum(terms: list[mx.array], scale: float) -> mx.array:
    """The terms' sum, scaled, in one kernel."""
    return sum(terms[1:], terms[0]) * scale


def take(array: mx.array, chosen: mx.array) -> mx.array:
    """[B, L, K, W] of [B, 1, S, W] at the places `chosen` [B, L, K]."""
    if array.shape[0] == 1:
        return array[0, 0][chosen]
    return array[mx.arange(array.shape[0])[:, None, None], 0, chosen]
