"""What MLA attends to: one row per token, plain or quantized (arXiv:2405.04434 §2.1.2).

A row is the normalised latent (R numbers), then the rotated key that all heads share (P numbers).
Attention needs four operations on rows; each form does them in its own way. The quantized form
multiplies packed numbers directly, so that decoding never holds a full-precision copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlx_deepseek.runtime.device import on_gpu

# Of the scales and biases of quantized rows: more precision than the rows' own gains nothing.
SCALE_DTYPE = mx.bfloat16

Packed = Sequence[mx.array]  # numbers, scales, biases
Queries = Sequence[mx.array]  # for the latent and for the rotated key; or for all in one


class LatentKV:
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

    def weighted_sum(self, weights: mx.array, width: int) -> mx.array:
        """Sums [B, 1, M, width] of the rows' first numbers, weighted by [B, 1, M, S]."""
        return weighted_sum(weights, self.array, width)

    def gather(self, chosen: mx.array, dtype: mx.Dtype) -> mx.array:
        """Rows [B, L, K, W] at the places `chosen` [B, L, K]."""
        return gather(self.array, chosen).astype(dtype)

    def dense(self, dtype: mx.Dtype, tokens: slice = slice(None)) -> mx.array:
        """Some tokens' rows [B, 1, s, W]."""
        return self.array[:, :, tokens].astype(dtype)


@dataclass(frozen=True)
class QuantFormat:
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
class QuantizedLatentKV:
    """The same rows, quantized in parts that lie side by side."""

    parts: Sequence[Packed]
    formats: Sequence[QuantFormat]

    @property
    def length(self) -> int:
        """As `LatentKV.length`."""
        return self.parts[0][0].shape[2]

    def scores(self, queries: Queries, scale: float) -> mx.array:
        """As `LatentKV.scores`."""
        triples = zip(queries, self.parts, self.formats, strict=True)
        return scaled_sum([p.product(q, part, transpose=True) for q, part, p in triples], scale)

    def weighted_sum(self, weights: mx.array, width: int) -> mx.array:
        """As `LatentKV.weighted_sum`; `width` is that of the first part."""
        assert width == self.formats[0].width
        return self.formats[0].product(weights, self.parts[0], transpose=False)

    def gather(self, chosen: mx.array, dtype: mx.Dtype) -> mx.array:
        """As `LatentKV.gather`."""
        gathered = [[gather(array, chosen) for array in part] for part in self.parts]
        return self._unpack(gathered, dtype)

    def dense(self, dtype: mx.Dtype, tokens: slice = slice(None)) -> mx.array:
        """As `LatentKV.dense`."""
        some = [[array[:, :, tokens] for array in part] for part in self.parts]
        return self._unpack(some, dtype)

    def _unpack(self, parts: Sequence[Packed], dtype: mx.Dtype) -> mx.array:
        pairs = zip(parts, self.formats, strict=True)
        return mx.concatenate([form.unpack(part, dtype) for part, form in pairs], axis=-1)


@dataclass(frozen=True)
class SharedLatentKV:
    """Rows of B requests that begin alike: a `prefix` [1, 1, S', W] once, and what follows of each.

    All requests' queries are rows of one product with the prefix, which is read once for all
    (cf. arXiv:2402.05099).
    """

    prefix: "LatentKV | QuantizedLatentKV"
    own: "LatentKV | QuantizedLatentKV"

    @property
    def length(self) -> int:
        """As `LatentKV.length`."""
        return self.prefix.length + self.own.length

    def scores(self, queries: Queries, scale: float) -> mx.array:
        """As `LatentKV.scores`."""
        shared = self.prefix.scores([as_one(q) for q in queries], scale)  # [1, 1, B M, S']
        shared = shared.reshape(*queries[0].shape[:3], -1)
        return mx.concatenate([shared, self.own.scores(queries, scale)], axis=-1)

    def weighted_sum(self, weights: mx.array, width: int) -> mx.array:
        """As `LatentKV.weighted_sum`."""
        shared, own = mx.split(weights, [self.prefix.length], axis=-1)
        mixed = self.prefix.weighted_sum(as_one(shared), width)  # [1, 1, B M, width]
        return mixed.reshape(*weights.shape[:3], width) + self.own.weighted_sum(own, width)

    def gather(self, chosen: mx.array, dtype: mx.Dtype) -> mx.array:
        """As `LatentKV.gather`."""
        return gather(self.dense(dtype), chosen)

    def dense(self, dtype: mx.Dtype, tokens: slice = slice(None)) -> mx.array:
        """As `LatentKV.dense`."""
        start, stop, _ = tokens.indices(self.length)
        here = self.prefix.length
        shared = self.prefix.dense(dtype, slice(min(start, here), min(stop, here)))
        own = self.own.dense(dtype, slice(max(start - here, 0), max(stop - here, 0)))
        shared = mx.broadcast_to(shared, (own.shape[0], *shared.shape[1:]))
        return mx.concatenate([shared, own], axis=2)


AnyLatentKV = LatentKV | QuantizedLatentKV | SharedLatentKV


def as_one(x: mx.array) -> mx.array:
    """Rows [1, 1, B M, W] of x [B, 1, M, W]."""
    return x.reshape(1, 1, -1, x.shape[-1])


def dot(queries: Queries, rows: mx.array, scale: float) -> mx.array:
    """Scaled products [..., M, S] of queries' parts [..., M, w] with rows [..., S, W]."""
    if len(queries) == 1 or not on_gpu():  # a CPU would copy the rows' parts
        return (mx.concatenate(list(queries), axis=-1) * scale) @ rows.swapaxes(-1, -2)
    latent, key = mx.split(
        rows.swapaxes(-1, -2), [queries[0].shape[-1]], axis=-2
    )  # [.., R, S], [.., P, S]
    # The second product adds the first and scales both: two kernels in all.
    return mx.addmm(queries[1] @ key, queries[0], latent, alpha=scale, beta=scale)


def weighted_sum(weights: mx.array, rows: mx.array, width: int) -> mx.array:
    """Sums [..., M, width] of rows [..., S, W], weighted by [..., M, S]."""
    if on_gpu():
        return weights @ rows[..., :width]
    return (weights @ rows)[..., :width]  # a CPU would copy a part of the rows


@mx.compile
def scaled_sum(terms: list[mx.array], scale: float) -> mx.array:
    """The terms' sum, scaled, in one kernel."""
    return sum(terms[1:], terms[0]) * scale


def gather(array: mx.array, chosen: mx.array) -> mx.array:
    """[B, L, K, W] of [B, 1, S, W] at the places `chosen` [B, L, K]."""
    if array.shape[0] == 1:
        return array[0, 0][chosen]
    return array[mx.arange(array.shape[0])[:, None, None], 0, chosen]
