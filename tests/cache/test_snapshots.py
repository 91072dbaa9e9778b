"""Caches that requests leave: found by prefix, copied where their end is wanted, forgotten."""

import mlx.core as mx
import pytest

from mlx_deepseek import models
from mlx_deepseek.cache.prompt_cache import PromptCache, common_prefix
from mlx_deepseek.cache.snapshots import Snapshots
from mlx_deepseek.generation.decode import tokens
from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.sampling import Sampling

TEXT = {"model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 64}
TEXT |= {"num_attention_heads": 2, "intermediate_size": 48, "rms_norm_eps": 1e-6}


@pytest.fixture(scope="module")
def model():
    mx.random.seed(3)
    built = models.build(TEXT)
    mx.eval(built.parameters())
    return built


def ids(length, seed=0):
    return [(7 * seed + 3 * j) % 60 + 1 for j in range(length)]


def read(model, prompt, cache):
    """What the model writes next, and how much of the prompt it did not read."""
    request = Request(prompt, 3, Sampling(temperature=0.0), frozenset())
    steps = [step for step in tokens(model, request, cache) if step.token is not None]
    return [step.token for step in steps], steps[-1].usage.cached_tokens


@pytest.fixture
def snapshots(model):
    return Snapshots(lambda: PromptCache(model), 1 << 30)


def test_a_conversation_goes_on_in_its_own_cache(model, snapshots):
    first = snapshots.take(ids(40))
    written, _ = read(model, ids(40), first)
    snapshots.give_back(first)
    longer = [*ids(40), *written, 5, 6, 7]
    again = snapshots.take(longer)
    assert again is first
    assert snapshots.idle == []
    assert read(model, longer, again)[1] >= 42


def test_one_that_would_lose_its_end_is_copied(model, snapshots):
    long = snapshots.take(ids(700))
    read(model, ids(700), long)
    snapshots.give_back(long)
    other = [*ids(200), *ids(30, seed=5)]
    copy = snapshots.take(other)
    assert copy is not long
    expected = read(model, other, PromptCache(model))[0]
    assert read(model, other, copy) == (expected, common_prefix(other, ids(700)))
    more = [*ids(700), 9]
    assert read(model, more, snapshots.take(more))[1] == 700  # nothing was lost


def test_the_oldest_are_forgotten(model):
    snapshots = Snapshots(lambda: PromptCache(model), 0)
    for seed in range(3):
        cache = snapshots.take(ids(20, seed))
        read(model, ids(20, seed), cache)
        snapshots.give_back(cache)
    assert [one.ids[0] for one in snapshots.idle] == [ids(1, 2)[0]]
    snapshots = Snapshots(lambda: PromptCache(model), 2 * cache.nbytes)
    for seed in range(5):
        cache = snapshots.take(ids(20, seed))
        read(model, ids(20, seed), cache)
        snapshots.give_back(cache)
    assert [one.ids[0] for one in snapshots.idle] == [ids(1, seed)[0] for seed in (2, 3, 4)]


def test_what_is_in_use_is_not_taken_twice(model, snapshots):
    cache = snapshots.take(ids(20))
    read(model, ids(20), cache)
    snapshots.give_back(cache)
    assert snapshots.take(ids(20)) is cache
    assert snapshots.take(ids(20)) is not cache


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 191, 192, 500])
def test_common_prefix(length):
    a = ids(500)
    assert common_prefix(a, [*a[:length], 99, 98]) == length
    assert common_prefix(tuple(a), a[:length]) == length
