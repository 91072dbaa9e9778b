"""What is restored is what was stored, of exact token prefixes only; memory stays bounded."""

import gc
import shutil
import tempfile
from itertools import takewhile
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.models.cache import (
    ArraysCache,
    BatchKVCache,
    CacheList,
    ChunkedKVCache,
    KVCache,
    RotatingKVCache,
)

from mlx_deepseek.cache.blocks import BLOCK
from mlx_deepseek.cache.prefix_cache import PrefixCache
from tests.cache.layers import FORMS, fresh, made, prompt, same

PLENTY = 1 << 30
BLOCK_BYTES = 2 * BLOCK * 3 * 4  # of the form "latent"


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from(list(FORMS)),
    lengths=st.tuples(st.integers(0, 4 * BLOCK), st.integers(0, 4 * BLOCK)),
    split=st.integers(0, 4 * BLOCK),
    on_disk=st.booleans(),
)
def test_what_is_restored_was_stored(form, lengths, split, on_disk):
    first, second = prompt(0, lengths[0]), prompt(0, lengths[1])
    second[split:] = prompt(1, len(second[split:]))
    with tempfile.TemporaryDirectory() as folder:
        cache = PrefixCache("k", memory_bytes=0 if on_disk else PLENTY, folder=Path(folder))
        assert cache.store(first, made(first, form)) == len(first) // BLOCK
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))
        expected = len(list(alike)) // BLOCK * BLOCK
        layers = fresh(form)
        assert cache.match(second) == cache.restore(second, layers) == expected
        if expected:
            assert same(layers, made(second[:expected], form))
        else:
            assert all(layer.keys is None and layer.offset == 0 for layer in layers)


@pytest.mark.parametrize("form", ["latent", "heads"])
def test_the_layers_go_on_and_the_store_stays(form):
    ids = prompt(0, BLOCK + 5)
    cache = PrefixCache("k", memory_bytes=PLENTY)
    cache.store(ids, made(ids, form))
    layers = fresh(form)
    for _ in range(2):  # the first round writes over restored rows
        layers = fresh(form)
        assert cache.restore(ids, layers) == BLOCK
        assert same(layers, made(ids[:BLOCK], form))
        for layer in layers:
            layer.trim(9)
            other = layer.keys[..., :20, :] * 0, layer.values[..., :20, :] * 0
            layer.update_and_fetch(*other)
            layer.keys[..., :3, :] = 1
            mx.eval(layer.state)
        assert layers[0].offset == BLOCK + 11


def test_blocks_are_stored_once():
    cache = PrefixCache("k", memory_bytes=PLENTY)
    ids = prompt(0, 3 * BLOCK)
    assert cache.store(ids[: 2 * BLOCK], made(ids)) == 2
    assert cache.store(ids, made(ids)) == 1
    assert cache.store(ids, made(ids)) == 0
    fork = ids[:BLOCK] + prompt(1, BLOCK)
    assert cache.store(fork, made(fork)) == 1
    assert cache.memory_nbytes == 4 * BLOCK_BYTES


def test_the_same_tokens_after_others_are_another_block():
    cache = PrefixCache("k", memory_bytes=PLENTY)
    again = prompt(0, BLOCK) * 3
    assert cache.store(again, made(again)) == 3
    elsewhere = prompt(1, BLOCK) + again
    assert cache.match(elsewhere) == 0
    assert cache.store(elsewhere, made(elsewhere)) == 4
    for ids in (again, elsewhere):
        layers = fresh("latent")
        assert cache.restore(ids, layers) == len(ids)
        assert same(layers, made(ids))


def test_only_tokens_that_layers_and_ids_have():
    cache = PrefixCache("k", memory_bytes=PLENTY)
    ids = prompt(0, 3 * BLOCK)
    layers = made(ids)
    layers[1].offset = BLOCK + 10
    assert cache.store(ids, layers) == 1
    assert cache.store(ids[: 2 * BLOCK - 1], made(ids)) == 0
    assert cache.match(ids) == BLOCK


def test_limit():
    cache = PrefixCache("k", memory_bytes=PLENTY)
    ids = prompt(0, 2 * BLOCK)
    cache.store(ids, made(ids))
    for limit, expected in [(None, 2), (2 * BLOCK, 2), (2 * BLOCK - 1, 1), (BLOCK, 1), (9, 0)]:
        layers = fresh("latent")
        assert cache.restore(ids, layers, limit=limit) == expected * BLOCK
        assert layers[0].offset == expected * BLOCK


def test_a_key_is_a_store_of_its_own(tmp_path):
    ids = prompt(0, BLOCK)
    PrefixCache("one", memory_bytes=PLENTY, folder=tmp_path).store(ids, made(ids))
    two = prompt(1, BLOCK)
    other = PrefixCache("two", memory_bytes=PLENTY, folder=tmp_path)
    other.store(two, made(two))
    assert other.match(ids) == other.restore(ids, fresh("latent")) == 0
    for path in list(tmp_path.glob("*/*.safetensors")):
        for folder in set(tmp_path.iterdir()) - {path.parent}:
            shutil.copy(path, folder)
    assert other.match(ids) == 0  # not even if someone mixes their files


def windowed(kind):
    cache = kind(BLOCK)
    cache.update_and_fetch(mx.ones((1, 1, BLOCK, 3)), mx.ones((1, 1, BLOCK, 3)))
    return cache


def batch_of(rows: int, kind=KVCache):
    cache = kind() if kind is KVCache else kind([0] * rows)
    cache.update_and_fetch(mx.ones((rows, 1, BLOCK, 3)), mx.ones((rows, 1, BLOCK, 3)))
    return cache


@pytest.mark.parametrize(
    "layer",
    [
        lambda: windowed(RotatingKVCache),
        lambda: windowed(ChunkedKVCache),
        lambda: batch_of(2),
        lambda: batch_of(1, BatchKVCache),
        lambda: CacheList(KVCache()),
        lambda: ArraysCache(2),
        lambda: KVCache(),
    ],
)
def test_layers_that_blocks_cannot_hold(layer, tmp_path):
    cache = PrefixCache("k", memory_bytes=PLENTY, folder=tmp_path / "folder")
    ids = prompt(0, BLOCK)
    assert cache.store(ids, [made(ids)[0], layer()]) == 0
    assert cache.store(ids, []) == 0
    assert cache.memory_nbytes == cache.folder_nbytes == cache.match(ids) == 0
    assert not (tmp_path / "folder").exists()


def test_layers_of_another_class_are_left_alone(tmp_path):
    ids = prompt(0, BLOCK)
    for memory_bytes in (PLENTY, 0):
        cache = PrefixCache("k", memory_bytes=memory_bytes, folder=tmp_path)
        cache.store(ids, made(ids))
        for layers in (fresh("nested"), fresh("latent")[:1], [RotatingKVCache(8)] * 2):
            assert cache.restore(ids, layers) == 0
            assert all(layer.keys is None for layer in layers)
        assert cache.restore(ids, fresh("latent")) == BLOCK


def test_another_layout_takes_the_place_of_the_old_one():
    cache = PrefixCache("k", memory_bytes=PLENTY)
    ids = prompt(0, 2 * BLOCK)
    cache.store(ids, made(ids, "latent"))
    assert cache.store(ids, made(ids, "bfloat16")) == 2
    layers = fresh("bfloat16")
    assert cache.restore(ids, layers) == 2 * BLOCK
    assert same(layers, made(ids, "bfloat16"))


def test_clear(tmp_path):
    cache = PrefixCache("k", memory_bytes=PLENTY, folder=tmp_path)
    ids = prompt(0, BLOCK)
    cache.store(ids, made(ids))
    assert cache.memory_nbytes > 0
    cache.clear()
    assert cache.memory_nbytes == cache.folder_nbytes == cache.match(ids) == 0
    assert cache.store(ids, made(ids)) == 1


def test_blocks_do_not_hold_on_to_the_layers():
    cache = PrefixCache("k", memory_bytes=PLENTY)
    ids = prompt(0, BLOCK)
    gc.collect()
    before = mx.get_active_memory()
    layers = made(ids, spare=100_000)
    mx.eval([(layer.keys, layer.values) for layer in layers])
    whole = mx.get_active_memory() - before
    cache.store(ids, layers)
    del layers
    gc.collect()
    assert whole > 100 * cache.memory_nbytes
    # what else the process allocates is small beside the layers
    assert mx.get_active_memory() - before <= cache.memory_nbytes + whole / 20


@settings(max_examples=40, deadline=None)
@given(
    room=st.integers(0, 6),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 4)), max_size=12),
)
def test_memory_is_bounded_and_every_block_in_reach(room, steps):
    """Prompts of a tree: 0-2 and 3-5 begin alike."""
    tree = [prompt(i // 3, (1 + i % 3) * BLOCK) + prompt(9 + i, 2 * BLOCK) for i in range(6)]
    limit = room * BLOCK_BYTES + 100
    cache = PrefixCache("k", memory_bytes=limit)
    for store, which, blocks in steps:
        ids = tree[which][: blocks * BLOCK]
        if store:
            cache.store(ids, made(ids))
            assert cache.match(ids) >= min(len(ids), room * BLOCK)
        else:
            layers = fresh("latent")
            found = cache.match(ids)
            assert cache.restore(ids, layers) == found
            assert not found or same(layers, made(ids[:found]))
        assert cache.memory_nbytes <= limit
        ends = [range(BLOCK, cache.match(ids) + 1, BLOCK) for ids in tree]
        reach = {tuple(ids[:end]) for ids, of in zip(tree, ends, strict=True) for end in of}
        assert len(reach) * BLOCK_BYTES == cache.memory_nbytes


def test_the_least_recently_used_goes_first():
    cache = PrefixCache("k", memory_bytes=4 * BLOCK_BYTES)
    one, two, three = (prompt(i, 2 * BLOCK) for i in range(3))
    cache.store(one, made(one))
    cache.store(two, made(two))
    cache.restore(one, fresh("latent"))
    cache.store(three[:BLOCK], made(three))
    assert [cache.match(ids) // BLOCK for ids in (one, two, three)] == [2, 1, 1]
