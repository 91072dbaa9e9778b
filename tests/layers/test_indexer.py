"""The lightning indexer: what it chooses, in pieces as at once, and what attention makes of it."""

import dataclasses
import itertools

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.models.cache import BatchKVCache

from mlx_deepseek.layers import attention, chunking
from mlx_deepseek.layers.indexer import Indexer, IndexerConfig, sparse_mask
from mlx_deepseek.layers.latent_kv import LatentKV
from mlx_deepseek.layers.mla import MLAConfig, SplitLatentAttention
from mlx_deepseek.layers.rope import RopeConfig

TOPK = 4
INDEXER = IndexerConfig(
    hidden=32, query_rank=16, heads=3, dim=32, topk=TOPK, rope=RopeConfig(8, interleaved=False)
)
CONFIG = MLAConfig(
    hidden=32,
    heads=2,
    query_rank=16,
    kv_rank=32,
    nope_dim=8,
    value_dim=8,
    rope=RopeConfig(dims=8),
    indexer=INDEXER,
)


def sparse_attention(seed=0, **changes) -> SplitLatentAttention:
    mx.random.seed(seed)
    layer = SplitLatentAttention(dataclasses.replace(CONFIG, **changes))
    for name in ("embed_q", "unembed_out"):
        layer[name].weight = mx.random.normal(layer[name].weight.shape) * 0.3
    return layer


def close(a, b, tolerance=2e-5):
    return float(mx.abs(a - b).max()) <= tolerance


def reference_scores(layer: Indexer, x, query_latent) -> mx.array:
    """The formula, query by query and head by head; [B, L, S] without mask."""
    keys = layer.rope(layer.k_norm(layer.wk(x))[:, None], 0)[:, 0]
    queries = mx.unflatten(layer.wq_b(query_latent), -1, (layer.config.heads, -1))
    queries = layer.rope(queries.swapaxes(1, 2), 0)
    weights = layer.weights_proj(x) * layer.config.heads**-0.5 * layer.config.dim**-0.5
    total = 0
    for head in range(layer.config.heads):
        dots = queries[:, head] @ keys.swapaxes(-1, -2)
        total = total + mx.maximum(dots, 0) * weights[:, :, head, None]
    return total


@settings(max_examples=15, deadline=None)
@given(length=st.integers(TOPK + 1, 12), batch=st.integers(1, 2), seed=st.integers(0, 99))
def test_it_chooses_the_best_scores_among_the_visible(length, batch, seed):
    mx.random.seed(seed)
    layer = Indexer(INDEXER)
    x, latent = mx.random.normal((batch, length, 32)), mx.random.normal((batch, length, 16))
    chosen = layer(x, latent, layer.compress(x, 0), "causal", 0)
    mask = sparse_mask(chosen, length)[:, 0]
    scores = reference_scores(layer, x, latent)
    for b, query in itertools.product(range(batch), range(length)):
        visible = scores[b, query, : query + 1]
        kept = mask[b, query]
        assert int(kept.sum()) == min(TOPK, query + 1)
        assert not mx.any(kept[query + 1 :])
        worst = mx.where(kept[: query + 1], visible, mx.inf).min()
        best_left_out = mx.where(kept[: query + 1], -mx.inf, visible).max()
        assert float(worst) >= float(best_left_out) - 1e-6


def test_up_to_k_tokens_it_chooses_nothing():
    layer = Indexer(INDEXER)
    x, latent = mx.random.normal((1, TOPK, 32)), mx.random.normal((1, TOPK, 16))
    assert layer(x, latent, layer.compress(x, 0), "causal", 0) is None


def test_up_to_k_tokens_attention_is_dense():
    layer = sparse_attention()
    x = mx.random.normal((1, TOPK, 32))
    sparse = layer(x, "causal")
    layer.sparse = False
    assert mx.array_equal(sparse, layer(x, "causal"))


@settings(max_examples=15, deadline=None)
@given(length=st.integers(TOPK + 1, 14), new=st.integers(1, 6), seed=st.integers(0, 99))
def test_gathering_equals_masking(length, new, seed):
    layer = sparse_attention(seed)
    x = mx.random.normal((2, length, 32))
    latent = layer.down(x)[0]
    chosen = layer.indexer(x, latent, layer.index_keys(x, 0), "causal", 0)
    new = min(new, length)
    queries = tuple(q[:, :, -new:] for q in layer.queries(latent, 0))
    chosen = tuple(part[:, -new:] for part in chosen)
    rows = layer.row(layer.kv_a_proj_with_mqa(x), 0)
    gathered = layer.decode(*queries, LatentKV(rows), None, chosen)
    masked = layer.prefill(*queries, LatentKV(rows), sparse_mask(chosen, length))
    assert close(gathered, masked)


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(1, 15), max_size=5), seed=st.integers(0, 99))
def test_chunked_prefill_equals_one_prefill(cuts, seed):
    layer = sparse_attention(seed)
    x = mx.random.normal((1, 16, 32))
    cache, parts = layer.make_cache(), []
    for start, end in itertools.pairwise([0, *sorted(set(cuts)), 16]):
        mask = "causal" if end - start > 1 else None
        parts.append(layer(x[:, start:end], mask, cache))
    assert close(mx.concatenate(parts, axis=1), layer(x, "causal"))


@pytest.mark.parametrize("way", ["gathered", "expanded"])
def test_bounded_pieces_give_the_same(way, monkeypatch):
    layer = sparse_attention()
    monkeypatch.setattr(SplitLatentAttention, "decodes", lambda *_: way == "gathered")
    x = mx.random.normal((2, 12, 32))
    whole = layer(x, "causal")
    monkeypatch.setattr(chunking, "AT_A_TIME_CPU", 1)
    monkeypatch.setattr(attention, "BLOCK_CPU", 5)
    assert close(layer(x, "causal"), whole)


def test_left_padding_is_never_chosen():
    layer = sparse_attention()
    x = mx.random.normal((1, 9, 32))
    pad = mx.random.normal((1, 5, 32))
    cache = BatchKVCache([5])
    mask = cache.make_mask(14)
    padded = layer(mx.concatenate([pad, x], axis=1), mask, cache)[:, 5:]
    assert close(padded, layer(x, "causal"))


def test_the_cache_holds_one_row_and_one_index_key_per_token():
    layer = sparse_attention()
    cache = layer.make_cache()
    layer(mx.random.normal((1, 6, 32)), "causal", cache)
    rows, index_keys = cache.keys_and_values()
    assert rows.shape == (1, 1, 6, 40)
    assert index_keys.shape == (1, 1, 6, 32)
    assert layer.cache_width == 72
