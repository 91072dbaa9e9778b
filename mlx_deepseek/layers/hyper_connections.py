"""Manifold-constrained hyper-connections: a residual stream of several copies (arXiv:2512.24880).

A token's state is M copies [M, D]. Each sublayer reads a mix of them (`pre`), writes its output to
all of them (`post`), and mixes them among themselves (`comb`, made doubly stochastic by Sinkhorn's
iteration, so that depth does not amplify). DeepSeek-V4 §2.2 (arXiv:2606.19348).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx

from mlx_deepseek.layers.residual import Ends, Residual, Sublayer
from mlx_deepseek.layers.sinkhorn import sinkhorn


@dataclass(frozen=True)
class HyperConfig:
    """`copies` of a state of width `hidden`; `delayed`: V4.1's, see DelayedHyperConnection."""

    hidden: int
    copies: int
    iterations: int
    eps: float
    norm_eps: float
    delayed: bool = False


class HyperConnection(Residual):
    """One sublayer's connection to the copies; computed in float32, as the reference."""

    def __init__(self, config: HyperConfig):
        super().__init__()
        self.config = config
        outputs = (2 + config.copies) * config.copies
        self.fn = mx.zeros((outputs, config.copies * config.hidden))
        self.base = mx.zeros((outputs,))
        self.scale = mx.ones((3,))

    def __call__(self, x: Any, sublayer: Sublayer) -> Any:
        """Copies [B, L, M, D] after a sublayer."""
        pre, post, comb = self.mixes(x)
        return expand(sublayer(collapse(x, pre)), x, post, comb)

    def mixes(self, copies: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        """Weights to read [B, L, M], to write [B, L, M] and to mix [B, L, M, M] copies."""
        mixes = normalised(copies, self.config.norm_eps) @ self.fn.T  # [B, L, (2 + M) M]
        pre, post, comb = weights_of(
            mixes, self.base, self.scale, self.config.copies, self.config.eps
        )
        config = self.config
        return pre, post, sinkhorn(comb, config.iterations, config.eps, training=self.training)


class DelayedHyperConnection(HyperConnection):
    """V4.1's: a sublayer reads by the weights that the sublayer before it computed.

    The state is the copies and those weights (arXiv:2609.19969).
    """

    def __call__(self, x: Any, sublayer: Sublayer) -> Any:
        """Copies [B, L, M, D] and reading weights [B, L, M] after a sublayer."""
        copies, before = x
        pre, post, comb = self.mixes(copies)
        return expand(sublayer(collapse(copies, before)), copies, post, comb), pre


class HyperEnds(Ends):
    """All copies begin alike; a learned mix of them is what is left."""

    def __init__(self, config: HyperConfig):
        super().__init__()
        self.config = config
        self.fn = mx.zeros((config.copies, config.copies * config.hidden))
        self.base = mx.zeros((config.copies,))
        self.scale = mx.ones((1,))

    def begin(self, x: mx.array) -> Any:
        """Copies [B, L, M, D] of embeddings [B, L, D]."""
        return spread(x, self.config.copies)

    def __call__(self, state: Any) -> mx.array:
        """Hidden states [B, L, D] of copies [B, L, M, D]."""
        mixes = normalised(state, self.config.norm_eps) @ self.fn.T  # [B, L, M]
        return collapse(state, mx.sigmoid(mixes * self.scale + self.base) + self.config.eps)


class DelayedEnds(Ends):
    """The same for delayed connections: the first sublayer reads one copy, and no weights are left.

    The last sublayer's reading weights make the hidden states.
    """

    def __init__(self, config: HyperConfig):
        super().__init__()
        self.config = config

    def begin(self, x: mx.array) -> Any:
        """Copies [B, L, M, D] of embeddings, and weights [B, L, M] of which one is not 0."""
        first = mx.arange(self.config.copies) == 0
        weights = mx.broadcast_to(first.astype(mx.float32), (*x.shape[:2], self.config.copies))
        return spread(x, self.config.copies), weights

    def __call__(self, state: Any) -> mx.array:
        """Hidden states [B, L, D]."""
        return collapse(*state)


def connections(config: HyperConfig | None) -> tuple[Callable[[], Residual], Callable[[], Ends]]:
    """What makes a sublayer's connection, and the ends of the stream; plain ones without config."""
    if config is None:
        return Residual, Ends
    kinds = (
        (DelayedHyperConnection, DelayedEnds) if config.delayed else (HyperConnection, HyperEnds)
    )
    return partial(kinds[0], config), partial(kinds[1], config)


def copies_of(state: Any) -> mx.array:
    """The copies [B, L, M, D] in a state."""
    return state[0] if isinstance(state, tuple) else state


def with_copies(state: Any, copies: mx.array) -> Any:
    """A state with other copies."""
    return (copies, *state[1:]) if isinstance(state, tuple) else copies


def spread(x: mx.array, copies: int) -> mx.array:
    """Copies [B, L, M, D] of x [B, L, D], all alike."""
    B, L, D = x.shape
    return mx.broadcast_to(x[:, :, None], (B, L, copies, D))


def normalised(copies: mx.array, eps: float) -> mx.array:
    """All copies as one float32 vector [B, L, M D] of root mean square 1."""
    return mx.fast.rms_norm(copies.flatten(-2).astype(mx.float32), None, eps)


@mx.compile
def collapse(copies: mx.array, pre: mx.array) -> mx.array:
    """Sum [B, L, D] of copies [B, L, M, D] weighted by [B, L, M]; one kernel, being unrolled."""
    parts = [pre[..., m, None] * copies[..., m, :] for m in range(copies.shape[-2])]
    return sum(parts[1:], parts[0]).astype(copies.dtype)


@mx.compile
def expand(out: mx.array, copies: mx.array, post: mx.array, comb: mx.array) -> mx.array:
    """Copies [B, L, M, D] mixed by comb [B, L, M, M], plus a sublayer's output [B, L, D].

    New copy j is post_j * out + sum_i comb_ij * copy_i: comb is used over its first index.
    """
    mixed = post[..., None] * out[..., None, :]  # [B, L, M, D]
    for i in range(copies.shape[-2]):
        mixed = mixed + comb[..., i, :, None] * copies[..., i, None, :]
    return mixed.astype(copies.dtype)


@mx.compile
def weights_of(mixes: mx.array, base: mx.array, scale: mx.array, copies: int, eps: float):
    """Weights as `mixes` gives them, of a projection [B, L, (2 + M) M] of the copies."""
    pre, post, comb = mx.split(mixes, [copies, 2 * copies], axis=-1)  # [.., M], [.., M], [.., M M]
    pre_base, post_base, comb_base = mx.split(base, [copies, 2 * copies])
    pre = mx.sigmoid(pre * scale[0] + pre_base) + eps
    post = 2.0 * mx.sigmoid(post * scale[1] + post_base)
    comb = mx.unflatten(comb * scale[2] + comb_base, -1, (copies, copies))  # [B, L, M, M]
    return pre, post, mx.softmax(comb, axis=-1) + eps
