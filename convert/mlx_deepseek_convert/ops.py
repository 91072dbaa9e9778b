"""What can happen to tensors on their way from the source's layout to MLX's.

Each operation is a shape function, which plans use, and an array function, which conversion uses.
Array functions yield their targets in slices along the first axis, so that a stack of hundreds of
experts never has to be in memory at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx

Shape = tuple[int, ...]
Read = Callable[[], mx.array]
Slice = tuple[int, mx.array]  # which target, and its next rows


class Op(Protocol):
    """An operation on the tensors that one rule gathered, experts in order."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """The targets' shapes; ValueError, saying why, when the sources' do not fit."""
        ...

    def slices(self, reads: Sequence[Read]) -> Iterator[Slice]:
        """The targets' values, slice after slice."""
        ...


@dataclass(frozen=True)
class Copy:
    """One tensor as it is."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """The same shape."""
        return tuple(sources)

    def slices(self, reads: Sequence[Read]) -> Iterator[Slice]:
        """The whole tensor."""
        yield 0, reads[0]()


@dataclass(frozen=True)
class Drop:
    """A tensor that the model computes itself."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """No target."""
        return ()

    def slices(self, reads: Sequence[Read]) -> Iterator[Slice]:
        """Nothing."""
        yield from ()


@dataclass(frozen=True)
class Stack:
    """Every expert's matrix [a, b] as one tensor [E, a, b]."""

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """[E, a, b]; all sources must agree."""
        for expert, shape in enumerate(sources):
            if shape != sources[0]:
                raise ValueError(f"expert {expert} has {list(shape)}, expert 0 {list(sources[0])}")
        return ((len(sources), *sources[0]),)

    def slices(self, reads: Sequence[Read]) -> Iterator[Slice]:
        """One expert after the other."""
        for read in reads:
            yield 0, read()[None]


@dataclass(frozen=True)
class SplitHeads:
    """MLA's kv_b_proj [H (N + V), R] as embed_q [H, R, N] and unembed_out [H, V, R].

    Both halves of an up-projection that mlx-lm stores apart, the keys' transposed, so that decoding
    can absorb them (arXiv:2405.04434 §2.1.2).
    """

    nope: int
    value: int

    def shapes(self, sources: Sequence[Shape]) -> tuple[Shape, ...]:
        """[H, R, N] and [H, V, R]."""
        (shape,) = sources
        per_head = self.nope + self.value
        if len(shape) != 2 or shape[0] % per_head:
            raise ValueError(
                f"{list(shape)} does not hold whole heads of {self.nope} + {self.value} rows"
            )
        heads, rank = shape[0] // per_head, shape[1]
        return (heads, rank, self.nope), (heads, self.value, rank)

    def slices(self, reads: Sequence[Read]) -> Iterator[Slice]:
        """Both targets whole."""
        per_head = mx.unflatten(reads[0](), 0, (-1, self.nope + self.value))  # [H, N + V, R]
        yield 0, per_head[:, : self.nope].swapaxes(-1, -2)
        yield 1, per_head[:, self.nope :]
