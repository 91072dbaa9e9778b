"""Laws of hyper-connections: mixing keeps the sum of the copies; one copy is a plain residual."""

import mlx.core as mx
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_map

from mlx_deepseek.layers.hyper_connections import (
    DelayedHyperConnection,
    HyperConfig,
    HyperConnection,
    collapse,
    spread,
)

CONFIG = HyperConfig(hidden=8, copies=4, iterations=20, eps=1e-6, norm_eps=1e-6)


def connection(kind, seed):
    mx.random.seed(seed)
    layer = kind(CONFIG)
    layer.update(tree_map(lambda a: mx.random.normal(a.shape) * 0.1, layer.parameters()))
    return layer


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_mixing_is_doubly_stochastic(seed):
    _, post, comb = connection(HyperConnection, seed).mixes(mx.random.normal((2, 3, 4, 8)))
    assert float(mx.abs(comb.sum(-2) - 1).max()) < 1e-4
    assert float(mx.abs(comb.sum(-1) - 1).max()) < 1e-2
    assert 0 <= float(post.min()) <= float(post.max()) <= 2


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_an_empty_sublayer_keeps_the_sum_of_the_copies(seed):
    layer = connection(HyperConnection, seed)
    copies = mx.random.normal((1, 3, 4, 8))
    out = layer(copies, mx.zeros_like)
    assert mx.allclose(out.sum(2), copies.sum(2), atol=1e-2)


def test_a_delayed_connection_reads_by_the_weights_before_it():
    layer = connection(DelayedHyperConnection, 1)
    copies, before = mx.random.normal((1, 2, 4, 8)), mx.random.uniform(shape=(1, 2, 4))
    read = []
    _, after = layer((copies, before), lambda h: read.append(h) or h)
    assert mx.allclose(read[0], collapse(copies, before))
    assert mx.allclose(after, layer.mixes(copies)[0])


def test_copies_begin_alike():
    x = mx.random.normal((1, 2, 8))
    assert mx.array_equal(spread(x, 4)[:, :, 3], x)
