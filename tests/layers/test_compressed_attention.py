"""Laws of compressed attention: any split of a prompt, and any rewind, gives the same numbers."""

import itertools
from dataclasses import replace

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_map

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers import compressed_cache, tail
from mlx_deepseek.layers.compressed_attention import (
    FEW,
    GATHER_FROM,
    CompressedAttention,
    CompressedAttentionConfig,
)
from mlx_deepseek.layers.compressed_cache import MARKS, REWIND, SLACK, CompressedCache
from mlx_deepseek.layers.compressor import CompressorConfig
from mlx_deepseek.layers.entry_indexer import CandidateConfig, EntryIndexerConfig
from mlx_deepseek.layers.rope import RopeConfig
from mlx_deepseek.layers.step import Step
from mlx_deepseek.layers.tail import ROOM, thinned

HIDDEN, RANK, DIM, EPS = 16, 12, 16, 1e-6


def rope(dim):
    return RopeConfig(8, leading=dim - 8)


def compressor(ratio, dim=DIM, **options):
    return CompressorConfig(HIDDEN, dim, ratio, EPS, **options)


WINDOW = CompressedAttentionConfig(HIDDEN, 4, DIM, RANK, 2, 6, 5, EPS, rope(DIM))
INDEXER = EntryIndexerConfig(HIDDEN, RANK, 3, 8, 2, EPS, rope(8))
SPARSE = replace(
    WINDOW,
    ratio=4,
    compressor=compressor(4, overlap=True),
    indexer=replace(INDEXER, compressor=compressor(4, 8, overlap=True)),
)
DENSE = replace(WINDOW, ratio=7, compressor=compressor(7))
CANDIDATES = replace(
    WINDOW,
    query_norm=False,
    ratio=2,
    compressor=compressor(2, biased=False),
    indexer=replace(INDEXER, key_input=DIM, candidates=CandidateConfig(2, 2, chosen_here=True)),
)
EVERY_TOKEN = replace(CANDIDATES, ratio=1, compressor=compressor(1, biased=False))
KINDS = {
    "window": WINDOW,
    "sparse": SPARSE,
    "dense": DENSE,
    "candidates": CANDIDATES,
    "every token": EVERY_TOKEN,
}


def attention(config, seed=0):
    """A layer with weights that no initial value hides."""
    mx.random.seed(seed)
    layer = CompressedAttention(config)
    layer.update(tree_map(lambda a: mx.random.normal(a.shape) * 0.5, layer.parameters()))
    return layer


def ran(layer, x, cache=None):
    return layer(x, Step(mx.zeros(x.shape[:2], mx.int32)), cache)


def close(a, b, tolerance=2e-5):
    return float(mx.abs(a - b).max()) <= tolerance


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(cuts=st.sets(st.integers(1, 40), max_size=6), seed=st.integers(0, 99))
def test_any_split_gives_the_same(kind, cuts, seed):
    layer = attention(KINDS[kind], seed)
    x = mx.random.normal((2, 41, HIDDEN))
    cache = layer.make_cache()
    edges = [0, *sorted(cuts), 41]
    parts = [ran(layer, x[:, a:b], cache) for a, b in itertools.pairwise(edges)]
    assert close(mx.concatenate(parts, axis=1), ran(layer, x))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(length=st.integers(2, 30), back=st.integers(1, 12), seed=st.integers(0, 99))
def test_rewinding_forgets(kind, length, back, seed):
    layer = attention(KINDS[kind], seed)
    x, other = mx.random.normal((1, 40, HIDDEN)), mx.random.normal((1, 12, HIDDEN))
    back = min(back, length - 1)
    cache = layer.make_cache()
    ran(layer, x[:, : length - back], cache)
    ran(layer, other[:, :back], cache)
    assert cache.trim(back) == back
    again = ran(layer, x[:, length - back :], cache)
    assert close(again, ran(layer, x)[:, length - back :])


@pytest.mark.parametrize("kind", KINDS)
def test_token_by_token_over_more_than_a_buffer(kind, monkeypatch):
    monkeypatch.setattr(tail, "ROOM", 7)
    monkeypatch.setattr(compressed_cache, "REWIND", 3)
    layer = attention(KINDS[kind])
    length = 50
    x = mx.random.normal((1, length, HIDDEN))
    cache = layer.make_cache()
    parts = [ran(layer, x[:, i : i + 1], cache) for i in range(length)]
    assert close(mx.concatenate(parts, axis=1), ran(layer, x))


def test_hiding_and_gathering_agree():
    """Many queries hide what they did not choose while entries are few; else each reads its own."""
    layer = attention(SPARSE)
    topk = SPARSE.indexer.topk
    length = 4 * GATHER_FROM * topk + 2 * FEW
    x = mx.random.normal((1, length, HIDDEN))
    whole = ran(layer, x)  # gathers
    cache = layer.make_cache()
    hidden = ran(layer, x[:, : 4 * GATHER_FROM * topk - 1], cache)
    assert close(hidden, whole[:, : hidden.shape[1]])


def test_a_cache_says_how_far_it_can_go_back():
    cache = CompressedCache(window=5, ratio=4, overlap=True)
    for _ in range(4):
        for place, width in ((cache.window, 3), (cache.raw, 6)):
            place.append(mx.zeros((1, ROOM, width)))
        cache.advance(ROOM)
    assert cache.reach(cache.offset - REWIND) == cache.offset - REWIND
    assert cache.reach(2 * ROOM + 100) == 2 * ROOM
    assert cache.reach(2 * ROOM - SLACK) == 2 * ROOM - SLACK
    assert cache.reach(ROOM - 100) == 0
    assert cache.trim(3 * ROOM) == 3 * ROOM
    assert list(cache.marks) == [ROOM]
    assert cache.trim(100) == ROOM
    assert cache.offset == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("back", [0, 1, SLACK])
def test_going_back_to_the_end_of_a_prompt(kind, back, monkeypatch):
    """However much was written since, and with other words after it."""
    monkeypatch.setattr(compressed_cache, "REWIND", 2)
    layer = attention(KINDS[kind])
    turns = [mx.random.normal((1, n, HIDDEN)) for n in (23, 14, 60, 31)]
    cache = layer.make_cache()
    ends = [0]
    for turn in turns:
        ran(layer, turn, cache)
        ends.append(cache.offset)
    x = mx.concatenate(turns, axis=1)
    other = mx.random.normal((1, 20, HIDDEN))
    for end in reversed(ends[1:-1]):
        place = end - back
        assert cache.reach(place) == place
        assert cache.trim(cache.offset - place) >= 0
        assert cache.offset == place
        again = ran(layer, other, cache)
        want = ran(layer, mx.concatenate([x[:, :place], other], axis=1))[:, place:]
        assert close(again, want), end


def test_marks_are_few_and_dense_at_both_ends():
    places = list(range(256, 256 * 400, 256))
    kept = thinned(places, MARKS)
    assert len(kept) == MARKS
    assert kept[:2] == places[:2]
    assert kept[-2:] == places[-2:]
    assert thinned(places[:MARKS], MARKS) == places[:MARKS]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "window"])
@pytest.mark.parametrize("bits", [4, 8])
def test_quantized_entries(kind, bits):
    """Close to what they stand for, the same for any split, and after going back."""
    config = widened(KINDS[kind])
    layer = attention(config)
    x = mx.random.normal((1, 70, HIDDEN))
    exact = ran(layer, x)
    cache = layer.make_cache().to_quantized(bits=bits)
    whole = ran(layer, x, cache)
    assert 0 < mx.abs(whole - exact).max() < (0.5 if bits == 4 else 0.05)
    assert cache.entries[0].dtype == mx.uint32
    cache.trim(9)
    assert close(ran(layer, x[:, 61:], cache), whole[:, 61:])
    cache = layer.make_cache().to_quantized(bits=bits)
    parts = [ran(layer, x[:, start : start + 11], cache) for start in range(0, 70, 11)]
    assert close(mx.concatenate(parts, axis=1), whole)


def test_cache_bits_that_cannot_be(monkeypatch):
    with pytest.raises(ConfigError, match="groups of 32"):
        attention(DENSE).make_cache().to_quantized(bits=8)
    assert attention(WINDOW).make_cache().to_quantized(bits=8).format is None


def widened(config):
    """The same with entries and keys of 32 numbers, and an indexer that reads nearly all."""
    indexer = config.indexer
    if indexer is not None:
        own = indexer.compressor and replace(indexer.compressor, dim=32)
        key = indexer.key_input and 32
        blocks = indexer.candidates and replace(indexer.candidates, blocks=40)
        wide = {"dim": 32, "compressor": own, "key_input": key, "candidates": blocks, "topk": 100}
        indexer = replace(indexer, rope=rope(32), **wide)
    made = replace(config.compressor, dim=32)
    return replace(config, dim=32, rope=rope(32), compressor=made, indexer=indexer)
