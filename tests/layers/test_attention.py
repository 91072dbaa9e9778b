"""Attention is one softmax, however it is padded or cut, and holds no more for more tokens."""

import itertools

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.layers import chunking
from mlx_deepseek.layers.attention import attend, attend_blocks, attend_rows
from mlx_deepseek.layers.chunking import depends
from mlx_deepseek.layers.latent_kv import LatentKV
from mlx_deepseek.layers.masks import apply_mask, visible


@pytest.mark.parametrize("mask", [None, "causal"])
@pytest.mark.parametrize(("width", "value_width"), [(192, 128), (64, 32), (24, 16)])
def test_padded_equals_plain(width, value_width, mask):
    mx.random.seed(0)
    queries, keys = (mx.random.normal((1, 2, 5, width)) for _ in range(2))
    values = mx.random.normal((1, 2, 5, value_width))
    plain = attend(queries, keys, values, scale=0.1, mask=mask, fused=False)
    padded = attend(queries, keys, values, scale=0.1, mask=mask, fused=True)
    assert padded.shape == (1, 2, 5, value_width)
    assert mx.allclose(plain, padded, atol=1e-5)


MASKS = st.sampled_from([None, "causal", "padded"])


def one_softmax(queries, keys, values, shown):
    """The definition, float32 throughout; [B, H, L, V]."""
    scores = queries @ keys.swapaxes(-1, -2) * 0.3
    scores = scores if shown is None else apply_mask(scores, shown)
    return mx.softmax(scores, axis=-1) @ values


def masked(kind, new, cached):
    """A mask as models pass it, and as booleans; "padded" hides the first token of row 1."""
    if kind == "padded":
        padding = mx.array([0, 1])[:, None, None, None]  # tokens per row
        kind = mx.tri(new, cached, cached - new, dtype=mx.bool_) & (mx.arange(cached) >= padding)
    return kind, visible(kind, slice(0, new), slice(0, cached), new, cached)


@settings(max_examples=40, deadline=None)
@given(
    new=st.integers(1, 6),
    before=st.integers(1, 20),
    block=st.integers(1, 12),
    mask=MASKS,
    spread=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_softmax_in_blocks_is_one_softmax(new, before, block, mask, spread, seed):
    mx.random.seed(seed)
    cached = before + new
    queries = mx.random.normal((2, 3, new, 8)) * spread
    keys, values = (mx.random.normal((2, 3, cached, width)) for width in (8, 5))
    given, shown = masked(mask, new, cached)

    def expand(tokens, done):
        return tuple(depends(done, [keys[:, :, tokens], values[:, :, tokens]]))

    out = attend_blocks(queries, expand, cached, block, scale=0.3, mask=given)
    assert mx.allclose(out, one_softmax(queries, keys, values, shown), atol=2e-5)


@settings(max_examples=20, deadline=None)
@given(new=st.integers(1, 6), before=st.integers(1, 9), mask=MASKS, at_a_time=st.integers(1, 200))
def test_queries_in_chunks_are_all_at_once(new, before, mask, at_a_time):
    mx.random.seed(new)
    cached = before + new
    queries = [mx.random.normal((2, 3, new, width)) for width in (8, 4)]
    rows = mx.random.normal((2, 1, cached, 12))
    given, shown = masked(mask, new, cached)
    whole = one_softmax(mx.concatenate(queries, axis=-1), rows, rows[..., :8], shown)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "AT_A_TIME_CPU", at_a_time)
        assert mx.allclose(attend_rows(queries, LatentKV(rows), 0.3, given), whole, atol=2e-5)


@settings(max_examples=40, deadline=None)
@given(new=st.integers(1, 8), before=st.integers(0, 12), data=st.data())
def test_a_mask_cut_up_is_the_mask(new, before, data):
    cached = before + new
    cuts = {0, new, *data.draw(st.lists(st.integers(0, new), max_size=3))}
    edges = {0, cached, *data.draw(st.lists(st.integers(0, cached), max_size=3))}
    whole = mx.tri(new, cached, before, dtype=mx.bool_)
    for queries in itertools.starmap(slice, itertools.pairwise(sorted(cuts))):
        for tokens in itertools.starmap(slice, itertools.pairwise(sorted(edges))):
            for mask in ("causal", whole):
                part = visible(mask, queries, tokens, new, cached)
                part = mx.array(True) if part is None else part
                assert mx.all(part == whole[queries, tokens])
