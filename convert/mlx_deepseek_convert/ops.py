"""What can happen to tensors on their way from the source's layout to the target's.

Each operation is a shape function, which plans use, and an array function, which conversion uses.
All keep order: a share of the sources' rows becomes the same share of each target's bytes. So any
piece of work has its place in the output before a value is read, and none needs a whole layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

Shape = tuple[int, ...]


class Op(Protocol):
    """An operation on the tensors that one rule gathered, experts in order."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """The targets' shapes; ValueError, saying why, when the sources' do not fit."""
        ...

    @property
    def joins(self) -> bool:
        """Whether it needs the same rows of all sources at once, not one source after the other."""
        ...

    @property
    def unit(self) -> int:
        """Rows of a source that must stay together."""
        ...

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        """Each target's next values, from some rows of the next source (or of all, if it joins)."""
        ...


@dataclass(frozen=True)
class Copy:
    """One tensor as it is."""

    joins = False
    unit = 1

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """The same shape."""
        return tuple(sources)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        """The rows."""
        return tuple(values)


@dataclass(frozen=True)
class Drop:
    """A tensor that the model computes itself."""

    joins = False
    unit = 1

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """No target."""
        return ()

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        """Nothing."""
        return ()


@dataclass(frozen=True)
class Stack:
    """Every expert's matrix [a, b] as one tensor [E, a, b]."""

    joins = False
    unit = 1

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """[E, a, b]; all sources must agree."""
        for expert, shape in enumerate(sources):
            if shape != sources[0]:
                raise ValueError(f"expert {expert} has {list(shape)}, expert 0 {list(sources[0])}")
        return ((len(sources), *sources[0]),)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        """Rows of one expert."""
        return tuple(values)


@dataclass(frozen=True)
class ChannelsLast:
    """A convolution's weight [O, I, h, w] as MLX has it, [O, h, w, I]; others as they are."""

    joins = False
    unit = 1

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """[O, h, w, I], or the same."""
        (shape,) = sources
        return ((shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape,)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        """Some output channels."""
        return tuple(mx.moveaxis(v, 1, -1) if v.ndim == 4 else v for v in values)


@dataclass(frozen=True)
class ChannelsFirst:
    """The reverse of ChannelsLast."""

    joins = False
    unit = 1

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """[O, I, h, w], or the same."""
        (shape,) = sources
        return ((shape[0], shape[-1], *shape[1:-1]) if len(shape) == 4 else shape,)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        """Some output channels."""
        return tuple(mx.moveaxis(v, -1, 1) if v.ndim == 4 else v for v in values)


@dataclass(frozen=True)
class SplitHeads:
    """MLA's kv_b_proj [H (N + V), R] as embed_q [H, R, N] and unembed_out [H, V, R].

    Both halves of an up-projection that mlx-lm stores apart, the keys' transposed, so that decoding
    can absorb them (arXiv:2405.04434 §2.1.2).
    """

    nope: int
    value: int
    joins = False

    @property
    def unit(self) -> int:
        """The rows of a head."""
        return self.nope + self.value

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """[H, R, N] and [H, V, R]."""
        (shape,) = sources
        if len(shape) != 2 or shape[0] % self.unit:
            raise ValueError(
                f"{list(shape)} does not hold whole heads of {self.nope} + {self.value} rows"
            )
        heads, rank = shape[0] // self.unit, shape[1]
        return (heads, rank, self.nope), (heads, self.value, rank)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        """Some heads of both targets."""
        per_head = mx.unflatten(values[0], 0, (-1, self.unit))  # [H, N + V, R]
        return per_head[:, : self.nope].swapaxes(-1, -2), per_head[:, self.nope :]


@dataclass(frozen=True)
class JoinHeads:
    """The reverse of SplitHeads."""

    joins = True
    unit = 1

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """[H (N + V), R]."""
        if [len(shape) for shape in sources] != [3, 3]:
            raise ValueError(f"{[list(shape) for shape in sources]} are not two stacks of heads")
        (heads, rank, nope), (same_heads, value, same_rank) = sources
        if (heads, rank) != (same_heads, same_rank):
            raise ValueError(f"{list(sources[0])} and {list(sources[1])} disagree in heads or rank")
        return ((heads * (nope + value), rank),)

    def apply(self, values: Sequence[mx.array]) -> tuple[mx.array, ...]:
        """Some heads' rows."""
        keys, outs = values
        joined = mx.concatenate([keys.swapaxes(-1, -2), outs], axis=1)  # [H, N + V, R]
        return (joined.flatten(0, 1),)
