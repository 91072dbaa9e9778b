"""Work in turn gives what work at once gives, and the memory it takes does not add up."""

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.layers import attention, chunking
from mlx_deepseek.layers.indexer import IndexerConfig
from mlx_deepseek.layers.mla import MLAConfig, SplitLatentAttention
from mlx_deepseek.layers.rope import RopeConfig
from mlx_deepseek.runtime.device import on_gpu


@settings(deadline=None)
@given(length=st.integers(1, 9), at_a_time=st.integers(1, 50), each=st.integers(1, 20))
def test_the_parts_are_joined(length, at_a_time, each):
    x = mx.random.normal((2, length, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunking, "AT_A_TIME_CPU", at_a_time)
        doubled, places = chunking.map_chunks(
            lambda part, x: (x * 2, mx.arange(part.start, part.stop)[None]), [x], each
        )
    assert mx.array_equal(doubled, x * 2)
    assert places.tolist() == [list(range(length))]


def attention_bytes(cached, new, *, sparse):
    """The peak while `new` tokens pass one layer after `cached` ones, over what there was."""
    indexer = IndexerConfig(64, 32, 32, 32, 64, RopeConfig(32, interleaved=False))
    config = MLAConfig(64, 4, 32, 64, 32, 32, RopeConfig(32), indexer=indexer if sparse else None)
    layer, x = SplitLatentAttention(config), mx.random.normal((1, new, 64))
    cache, widths = layer.make_cache(), layer.row_widths
    cache.reserve(cached + new)
    rows = mx.random.normal((1, 1, cached, sum(widths[:2])))
    cache.update_and_fetch(rows, mx.random.normal((1, 1, cached, widths[2])))
    mx.eval(layer.parameters(), x, cache.state)
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    mx.eval(layer(x, "causal", cache), cache.state)
    return mx.get_peak_memory() - before


@pytest.mark.skipif(on_gpu(), reason="other kernels, other sizes")
@pytest.mark.parametrize(
    ("new", "sparse", "at_a_time"),
    [(32, False, 1 << 16), (128, False, 1 << 16), (128, True, 1 << 20)],
    ids=["absorbed", "expanded", "sparse"],
)
def test_a_longer_cache_takes_no_more_memory(new, sparse, at_a_time, monkeypatch):
    monkeypatch.setattr(chunking, "AT_A_TIME_CPU", at_a_time)
    monkeypatch.setattr(attention, "BLOCK_CPU", 64)
    short, long = (attention_bytes(cached, new, sparse=sparse) for cached in (2048, 8192))
    assert long <= 1.3 * short
