"""What can happen to tensors on their way from the source's layout to the target's.

Each operation is a shape function, which plans use, and an array function, which conversion uses.
All keep order: a share of the sources' rows becomes the same share of each target's bytes. So any
piece of work has its place in the output before a value is read, and none needs a whole layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlx_deepseek_convert.source.formats import Shape


class Op:
    """An operation on the tensors that one rule gathered, experts in order; rows stay as they are.

    `joins`: it needs the same rows of all sources at once, not one source after the other.
    """

    joins = False

    @property
    def unit(self) -> int:
        """Rows of a source that must stay together."""
        return 1

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """The targets' shapes; ValueError, saying why, when the sources' do not fit."""
        return tuple(sources)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        """Each target's next values, from some rows of the next source (or of all, if it joins)."""
        return tuple(values)


@dataclass(frozen=True)
class Copy(Op):
    """One tensor as it is."""


@dataclass(frozen=True)
class Drop(Op):
    """A tensor that the model computes itself."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        return ()

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        return ()


@dataclass(frozen=True)
class Stack(Op):
    """Every expert's matrix [a, b] as one tensor [E, a, b]."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        for expert, shape in enumerate(sources):
            if shape != sources[0]:
                raise ValueError(f"expert {expert} has {list(shape)}, expert 0 {list(sources[0])}")
        return ((len(sources), *sources[0]),)  # [E, a, b]


@dataclass(frozen=True)
class Groups(Op):
    """A matrix [G a, b] of which every `rows` = a rows are a group's, as one tensor [G, a, b]."""

    rows: int

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        (shape,) = sources
        if len(shape) != 2 or shape[0] % self.rows:
            raise ValueError(f"{list(shape)} does not hold whole groups of {self.rows} rows")
        return ((shape[0] // self.rows, self.rows, shape[1]),)  # [G, a, b]


@dataclass(frozen=True)
class ChannelsLast(Op):
    """A convolution's weight [O, I, h, w] as MLX has it, [O, h, w, I]; others as they are."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        (shape,) = sources
        return ((shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape,)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        return tuple(mx.moveaxis(v, 1, -1) if v.ndim == 4 else v for v in values)


@dataclass(frozen=True)
class ChannelsFirst(Op):
    """The reverse of ChannelsLast."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        (shape,) = sources
        return ((shape[0], shape[-1], *shape[1:-1]) if len(shape) == 4 else shape,)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        return tuple(mx.moveaxis(v, -1, 1) if v.ndim == 4 else v for v in values)


@dataclass(frozen=True)
class Matrix(Op):
    """The weight [O, I, 1, 1] of a convolution that sees one place, as a matrix [O, I]."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        (shape,) = sources
        if shape[2:] != (1, 1):
            raise ValueError(f"{list(shape)} is no convolution of one place")
        return (shape[:2],)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        return tuple(v.squeeze((2, 3)) for v in values)


@dataclass(frozen=True)
class Kernel(Op):
    """The reverse of Matrix."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        (shape,) = sources
        return ((*shape, 1, 1),)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        return tuple(v[..., None, None] for v in values)


@dataclass(frozen=True)
class SplitHeads(Op):
    """MLA's kv_b_proj [H (N + V), R] as embed_q [H, R, N] and unembed_out [H, V, R].

    Both halves of an up-projection that mlx-lm stores apart, the keys' transposed, so that decoding
    can absorb them (arXiv:2405.04434 §2.1.2).
    """

    nope: int
    value: int

    @property
    def unit(self) -> int:
        """The rows of a head."""
        return self.nope + self.value

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        (shape,) = sources
        if len(shape) != 2 or shape[0] % self.unit:
            raise ValueError(
                f"{list(shape)} does not hold whole heads of {self.nope} + {self.value} rows"
            )
        heads, rank = shape[0] // self.unit, shape[1]
        return (heads, rank, self.nope), (heads, self.value, rank)  # [H, R, N], [H, V, R]

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        per_head = mx.unflatten(values[0], 0, (-1, self.unit))  # [H, N + V, R]
        return per_head[:, : self.nope].swapaxes(-1, -2), per_head[:, self.nope :]


@dataclass(frozen=True)
class JoinHeads(Op):
    """The reverse of SplitHeads."""

    joins = True

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        if [len(shape) for shape in sources] != [3, 3]:
            raise ValueError(f"{[list(shape) for shape in sources]} are not two stacks of heads")
        (heads, rank, nope), (same_heads, value, same_rank) = sources
        if (heads, rank) != (same_heads, same_rank):
            raise ValueError(f"{list(sources[0])} and {list(sources[1])} disagree in heads or rank")
        return ((heads * (nope + value), rank),)  # [H (N + V), R]

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        keys, outs = values
        joined = mx.concatenate([keys.swapaxes(-1, -2), outs], axis=1)  # [H, N + V, R]
        return (joined.flatten(0, 1),)
