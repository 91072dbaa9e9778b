"""The latent cache in mlx-lm's hands, and quantized: same tokens, fewer bytes, small errors."""

import copy

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.models.cache import (
    BatchKVCache,
    RotatingKVCache,
    load_prompt_cache,
    save_prompt_cache,
    trim_prompt_cache,
)

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.layers.latent_cache import KVCache, QuantizedLatentCache, cache_format
from mlx_deepseek.layers.latent_kv import LatentKV

R, P, INDEX = 64, 32, 32


def rows(length, batch=1, seed=0):
    return mx.random.normal((batch, 1, length, R + P), key=mx.random.key(seed))


def index_keys(length, batch=1):
    return mx.random.normal((batch, 1, length, INDEX), key=mx.random.key(9))


def nothing(length, batch=1):
    return mx.zeros((batch, 1, length, 0))


def filled(length, bits=None):
    cache = KVCache(R, P) if bits is None else QuantizedLatentCache(cache_format(R, P, 0, bits))
    cache.update_and_fetch(rows(length), nothing(length))
    return cache


def contents(cache):
    keys = cache.keys_and_values()[0]
    return keys if isinstance(keys, mx.array) else keys.dense(mx.float32)


def test_it_saves_and_loads_with_mlx_lm(tmp_path):
    path = str(tmp_path / "cache.safetensors")
    save_prompt_cache(path, [filled(300)])
    (loaded,) = load_prompt_cache(path)
    assert loaded.offset == 300
    assert mx.array_equal(contents(loaded), rows(300))


def test_it_batches_with_left_padding():
    batch = KVCache.merge([filled(3), filled(5)])
    assert isinstance(batch, BatchKVCache)
    keys, values = batch.update_and_fetch(rows(1, 2, 5), nothing(1, 2))
    assert (keys.shape, values.shape) == ((2, 1, 6, R + P), (2, 1, 6, 0))
    assert mx.array_equal(keys[0, 0, 2:5], rows(3)[0, 0])
    assert mx.array_equal(contents(batch.extract(0))[0, 0, :3], rows(3)[0, 0])


def test_it_rotates():
    cache = RotatingKVCache(max_size=8, keep=2)
    for i in range(12):
        cache.update_and_fetch(rows(12)[:, :, i : i + 1], nothing(1))
    kept = {0, 1, 6, 7, 8, 9, 10, 11}
    held = {tuple(row) for row in cache.keys[0, 0].tolist()}
    assert held == {tuple(rows(12)[0, 0, i].tolist()) for i in kept}


@pytest.mark.parametrize("bits", [None, 8, 4])
def test_trimmed_and_continued_is_as_if_never_there(bits):
    cache = filled(300, bits)
    assert trim_prompt_cache([cache], 60) == 60
    cache.update_and_fetch(rows(300)[:, :, 240:], nothing(60))
    assert mx.array_equal(contents(cache), contents(filled(300, bits)))


@pytest.mark.parametrize("bits", [None, 8, 4])
def test_a_copy_goes_its_own_way(bits):
    cache = filled(5, bits)
    twin = copy.deepcopy(cache)
    twin.update_and_fetch(rows(3, seed=1), nothing(3))
    assert cache.offset == 5
    assert mx.array_equal(contents(cache), contents(filled(5, bits)))


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4), bits=st.sampled_from([4, 8]))
def test_a_token_is_packed_alike_in_every_chunking(lengths, bits):
    total = sum(lengths)
    pieces, start = QuantizedLatentCache(cache_format(R, P, INDEX, bits)), 0
    for length in lengths:
        part = slice(start, start + length)
        pieces.update_and_fetch(rows(total)[:, :, part], index_keys(total)[:, :, part])
        start += length
    whole = QuantizedLatentCache(cache_format(R, P, INDEX, bits))
    whole.update_and_fetch(rows(total), index_keys(total))
    for piece, all_at_once in zip(pieces.keys_and_values(), whole.keys_and_values(), strict=True):
        assert mx.array_equal(piece.dense(mx.float32), all_at_once.dense(mx.float32))


@pytest.mark.parametrize(("bits", "error"), [(8, 0.05), (4, 0.5)])
def test_products_are_those_of_the_unpacked_rows(bits, error):
    packed, plain = filled(40, bits).keys_and_values()[0], LatentKV(contents(filled(40, bits)))
    queries = mx.random.normal((1, 1, 6, R)), mx.random.normal((1, 1, 6, P))
    weights = mx.softmax(mx.random.normal((1, 1, 6, 40)))
    assert mx.allclose(packed.scores(queries, 0.5), plain.scores(queries, 0.5), atol=1e-3)
    assert mx.allclose(packed.weighted_sum(weights, R), plain.weighted_sum(weights, R), atol=1e-4)
    chosen = mx.array([[[3, 1, 39]]])
    assert mx.array_equal(packed.gather(chosen, mx.float32), plain.gather(chosen, mx.float32))
    assert float(mx.abs(plain.array - rows(40)).max()) < error


@pytest.mark.parametrize("bits", [8, 4])
def test_bytes_are_as_computed(bits):
    cache = QuantizedLatentCache(cache_format(R, P, INDEX, bits))
    cache.update_and_fetch(rows(256), index_keys(256))
    assert cache.nbytes == 256 * cache.format.nbytes


def test_bytes_of_the_released_models():
    full = 2 * (512 + 64)
    assert cache_format(512, 64, 0, 8).nbytes / full <= 0.55
    assert cache_format(512, 64, 0, 4).nbytes / full <= 0.30
    assert cache_format(512, 64, 0, 4).row[1].bits == 8  # the rotated key, which counts most


def test_mlx_lm_quantizes_a_filled_cache():
    packed = filled(10).to_quantized(group_size=64, bits=8)
    assert mx.array_equal(contents(packed), contents(filled(10, 8)))


@pytest.mark.parametrize(("rank", "rope", "bits"), [(64, 32, 3), (64, 16, 8), (48, 32, 4)])
def test_what_cannot_be_packed_is_refused(rank, rope, bits):
    with pytest.raises(ConfigError, match=r"Expected|Load"):
        cache_format(rank, rope, 0, bits)
