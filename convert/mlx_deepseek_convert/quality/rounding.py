"""Affine quantization that minimises the error of a layer's outputs instead of its weights'.

Scales are searched per group under weights of the inputs' second moments (as AWQ's clipping does,
arXiv:2306.00978 §3.2); errors are fed forward into the columns that are still to be rounded (GPTQ,
arXiv:2210.17323 §3). The result is MLX's own affine format: code * scale + bias per group.
"""

from dataclasses import dataclass

import mlx.core as mx

# Ranges tried per group, as parts of the span from its smallest to its largest weight.
SPANS = tuple(1.0 - 0.05 * i for i in range(10))
REFITS = 1  # least-squares fits of scale and bias to the codes, per range
DAMPING = 0.01  # of the mean second moment, so that directions never seen stay bounded
WORD_BITS = 32


@dataclass(frozen=True)
class Grid:
    """MLX's affine format: `bits` per code, `group_size` weights to a scale and bias in `dtype`."""

    bits: int
    group_size: int
    dtype: mx.Dtype = mx.bfloat16

    @property
    def top(self) -> int:
        """The largest code."""
        return 2**self.bits - 1


@dataclass(frozen=True)
class Rounded:
    """Codes [..., O, I] with scales and biases [..., O, I / group_size], in float32."""

    codes: mx.array
    scales: mx.array
    biases: mx.array

    def values(self) -> mx.array:
        """The weights that these stand for, [..., O, I]."""
        grouped = mx.unflatten(self.codes, -1, (self.scales.shape[-1], -1))
        return (grouped * self.scales[..., None] + self.biases[..., None]).flatten(-2)

    def stored(self, grid: Grid) -> tuple[mx.array, mx.array, mx.array]:
        """As files hold them: packed codes, scales, biases."""
        codes = pack(self.codes.astype(mx.uint32), grid.bits)
        return codes, self.scales.astype(grid.dtype), self.biases.astype(grid.dtype)


def round_plainly(weight: mx.array, grid: Grid, importance: mx.array | None = None) -> Rounded:
    """Each weight [..., O, I] to the nearest point of the best grid.

    `importance` [..., I] weighs the squared errors of each input's column; None: all alike.
    """
    groups = mx.unflatten(weight, -1, (-1, grid.group_size))
    if importance is None:
        factors = mx.ones((grid.group_size,))
    else:
        factors = mx.unflatten(importance, -1, (-1, grid.group_size))[..., None, :, :]
    scales, biases = search(groups, factors, grid)
    return Rounded(nearest(groups, scales, biases, grid).flatten(-2), scales, biases)


def round_with_feedback(weight: mx.array, grid: Grid, moments: mx.array) -> Rounded:
    """Round weights [..., O, I] column by column, correcting the later ones for each error.

    `moments` [..., I, I] are the inputs' second moments: the error of the outputs is
    e @ moments @ e for a row's errors e.
    """
    spread = inverse_root(moments)  # upper triangular, [..., I, I]
    pivots = mx.diagonal(spread, axis1=-2, axis2=-1)
    size, inputs = grid.group_size, weight.shape[-1]
    codes, scales, biases = [], [], []
    for start in range(0, inputs, size):
        group = slice(start, start + size)
        own = spread[..., group, group]
        block, weight = weight[..., :size], weight[..., size:]
        scale, bias = search(block, (pivots[..., group] ** -2)[..., None, :], grid)
        code, errors = _round_block(block, own, scale, bias, grid)
        weight = weight - errors @ spread[..., group, start + size :]
        mx.eval(code, weight)
        codes.append(code)
        scales.append(scale)
        biases.append(bias)
    return Rounded(mx.concatenate(codes, -1), mx.stack(scales, -1), mx.stack(biases, -1))


def search(groups: mx.array, factors: mx.array, grid: Grid) -> tuple[mx.array, mx.array]:
    """Scale and bias of each group [..., g] with the least squared error, weighed by `factors`."""
    low, high = groups.min(axis=-1), groups.max(axis=-1)
    factors = mx.broadcast_to(factors, groups.shape)
    best = mx.full(low.shape, mx.inf), low, low
    widest = (high - low) / grid.top
    # Both ends as they are, which matters at many bits; then narrower spans around the middle.
    starts = [(widest, low), (-widest, high)]
    starts += [(span * widest, (high + low - span * (high - low)) / 2) for span in SPANS]
    for scale, bias in starts:
        for _ in range(REFITS + 1):
            scale, bias = _representable(scale, grid), _representable(bias, grid)
            codes = nearest(groups, scale, bias, grid)
            errors = codes * scale[..., None] + bias[..., None] - groups
            found = (factors * errors**2).sum(axis=-1), scale, bias
            better = found[0] < best[0]
            best = tuple(mx.where(better, new, old) for new, old in zip(found, best, strict=True))
            scale, bias = _fit(groups, codes, factors)
        mx.eval(best)
    return best[1], best[2]


def nearest(groups: mx.array, scales: mx.array, biases: mx.array, grid: Grid) -> mx.array:
    """Each weight's nearest code."""
    divisor = mx.where(scales == 0, 1.0, scales)[..., None]
    return mx.clip(mx.round((groups - biases[..., None]) / divisor), 0, grid.top)


def inverse_root(moments: mx.array) -> mx.array:
    """U, upper triangular, with U^T U the inverse of the damped `moments` [..., I, I]."""
    with mx.stream(mx.cpu):  # MLX factorises on the CPU only
        mean = mx.diagonal(moments, axis1=-2, axis2=-1).mean(axis=-1)
        ridge = (DAMPING * mean + 1e-10)[..., None, None] * mx.eye(moments.shape[-1])
        inverse = mx.linalg.cholesky_inv(mx.linalg.cholesky(moments + ridge))
        root = mx.linalg.cholesky(inverse, upper=True)
        mx.eval(root)
    return root


def pack(codes: mx.array, bits: int) -> mx.array:
    """Codes [..., n] as one stream of bits, lowest first, in words [..., n * bits / 32]."""
    columns = mx.unflatten(codes, -1, (-1, WORD_BITS))  # as many words as bits per code
    words = [mx.zeros(columns.shape[:-1], mx.uint32) for _ in range(bits)]
    for i in range(WORD_BITS):
        word, offset = divmod(i * bits, WORD_BITS)
        code = columns[..., i]
        words[word] = words[word] | (code << offset)
        if offset + bits > WORD_BITS:
            words[word + 1] = words[word + 1] | (code >> (WORD_BITS - offset))
    return mx.stack(words, axis=-1).flatten(-2)


def _round_block(
    block: mx.array, spread: mx.array, scale: mx.array, bias: mx.array, grid: Grid
) -> tuple[mx.array, mx.array]:
    """Codes of one group's columns [..., O, g], and the errors that later columns must make up."""
    codes, errors = [], []
    for column in range(grid.group_size):
        weight = block[..., column]
        code = nearest(weight[..., None], scale, bias, grid)[..., 0]
        error = (weight - code * scale - bias) / spread[..., None, column, column]
        block = block - error[..., None] * spread[..., None, column, :]
        codes.append(code)
        errors.append(error)
    return mx.stack(codes, -1), mx.stack(errors, -1)


def _representable(value: mx.array, grid: Grid) -> mx.array:
    return value.astype(grid.dtype).astype(mx.float32)


def _fit(groups: mx.array, codes: mx.array, factors: mx.array) -> tuple[mx.array, mx.array]:
    """Scale and bias that suit given codes best."""
    total = factors.sum(axis=-1) + 1e-30
    code, value = ((factors * x).sum(axis=-1) / total for x in (codes, groups))
    centred = factors * (codes - code[..., None])
    slope = (centred * (groups - value[..., None])).sum(axis=-1)
    scale = slope / ((centred * (codes - code[..., None])).sum(axis=-1) + 1e-30)
    return scale, value - scale * code
