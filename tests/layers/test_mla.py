"""Laws of latent attention: both ways to attend agree, and so do all ways to fill the cache."""

import dataclasses
import itertools

import mlx.core as mx
import mlx.nn as nn
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.layers import chunking
from mlx_deepseek.layers.latent_kv import LatentKV
from mlx_deepseek.layers.mla import LatentAttention, MLAConfig, SplitLatentAttention
from mlx_deepseek.layers.rope import RopeConfig

CONFIG = MLAConfig(
    hidden=32,
    heads=3,
    query_rank=32,
    kv_rank=32,
    nope_dim=32,
    value_dim=32,
    rope=RopeConfig(dims=8),
)


def attention(kind=LatentAttention, config=CONFIG, seed=0):
    mx.random.seed(seed)
    return kind(config)


def close(a, b, tolerance=2e-5):
    return float(mx.abs(a - b).max()) <= tolerance


@pytest.mark.parametrize("kind", [LatentAttention, SplitLatentAttention])
@settings(max_examples=15, deadline=None)
@given(cached=st.integers(0, 9), new=st.integers(1, 6), seed=st.integers(0, 99))
def test_absorbed_equals_expanded(kind, cached, new, seed):
    layer = attention(kind, seed=seed)
    x = mx.random.normal((2, cached + new, 32))
    q_nope, q_rope = layer.queries(layer.down(x[:, cached:])[0], cached)
    rows, mask = layer.row(layer.kv_a_proj_with_mqa(x), 0), "causal" if new > 1 else None
    absorbed = layer.decode(q_nope, q_rope, LatentKV(rows), mask)
    assert close(absorbed, layer.prefill(q_nope, q_rope, LatentKV(rows), mask))


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 11), max_size=4), seed=st.integers(0, 99))
def test_chunked_prefill_equals_one_prefill(cuts, seed):
    layer = attention(seed=seed)
    x = mx.random.normal((1, 12, 32))
    cache, parts = layer.make_cache(), []
    edges = [0, *sorted(set(cuts)), 12]
    for start, end in itertools.pairwise(edges):
        mask = "causal" if end - start > 1 else None
        parts.append(layer(x[:, start:end], mask, cache))
    assert close(mx.concatenate(parts, axis=1), layer(x, "causal"))


def test_the_cache_holds_one_row_per_token_and_nothing_else():
    layer = attention()
    cache = layer.make_cache()
    layer(mx.random.normal((1, 5, 32)), "causal", cache)
    rows, index_keys = cache.keys_and_values()
    assert rows.shape == (1, 1, 5, 40)
    assert index_keys.size == 0
    assert layer.cache_width == 40
    assert cache.nbytes == cache.keys.nbytes


def test_the_cheaper_way_follows_from_shapes():
    v3 = dataclasses.replace(
        CONFIG, kv_rank=512, nope_dim=128, value_dim=128, rope=RopeConfig(dims=64)
    )
    layer = attention(config=v3)
    assert layer.decodes(1, 1000, 1000)  # decode
    assert layer.decodes(4, 8192, 8192)  # verifying a few drafted tokens
    assert not layer.decodes(1000, 1000, 1000)  # prefill
    assert not layer.decodes(512, 8192, 8192)  # a late chunk of a long prefill
    assert layer.decodes(2048, 32768, 2048)  # the same with sparse attention
    assert not layer.decodes(2048, 4096, 2048)  # which pays only from some length on


def test_both_layouts_compute_the_same():
    whole, split = attention(LatentAttention), attention(SplitLatentAttention)
    weights = dict(nn.utils.tree_flatten(whole.parameters()))
    blocks = weights.pop("kv_b_proj.weight").reshape(3, 64, 32)
    weights["embed_q.weight"] = blocks[:, :32].swapaxes(-1, -2)
    weights["unembed_out.weight"] = blocks[:, 32:]
    split.load_weights(list(weights.items()))
    x = mx.random.normal((1, 7, 32))
    assert close(whole(x, "causal"), split(x, "causal"))
    assert close(whole(x[:, :1]), split(x[:, :1]))


@pytest.mark.parametrize("kind", [LatentAttention, SplitLatentAttention])
def test_quantized_projections_are_used_as_they_are(kind):
    layer = attention(kind)
    nn.quantize(layer, group_size=32, bits=8)
    x = mx.random.normal((1, 4, 32))
    q_nope, q_rope = layer.queries(layer.down(x)[0], 0)
    rows = layer.row(layer.kv_a_proj_with_mqa(x), 0)
    absorbed = layer.decode(q_nope, q_rope, LatentKV(rows), "causal")
    assert close(absorbed, layer.prefill(q_nope, q_rope, LatentKV(rows), "causal"))


@pytest.mark.parametrize("kind", [LatentAttention, SplitLatentAttention])
@pytest.mark.parametrize("quantized", [False, True])
def test_expanding_some_heads_at_a_time_is_expanding_all(kind, quantized, monkeypatch):
    layer = attention(kind)
    if quantized:
        nn.quantize(layer, group_size=32, bits=8)
    x = mx.random.normal((2, 6, 32))
    args = (
        *layer.queries(layer.down(x)[0], 0),
        LatentKV(layer.row(layer.kv_a_proj_with_mqa(x), 0)),
        "causal",
    )
    whole = layer.prefill(*args)
    monkeypatch.setattr(chunking, "AT_A_TIME_CPU", 4000)  # two heads, then one
    assert close(layer.prefill(*args), whole)


def test_a_wrapped_up_projection_falls_back_to_expanding():
    from mlx_lm.tuner.lora import LoRALinear

    layer = attention()
    x = mx.random.normal((1, 1, 32))
    plain = layer(x)
    layer.kv_b_proj = LoRALinear.from_base(layer.kv_b_proj, r=4)
    assert not layer.decodes(1, 1, 1)
    assert close(layer(x), plain)  # a fresh adapter adds zero
    layer.kv_b_proj.lora_b = mx.random.normal(layer.kv_b_proj.lora_b.shape)
    assert not close(layer(x), plain)
