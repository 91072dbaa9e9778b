"""An engine's caches: prefixes found by other conversations and after a restart, and refusals."""

import pytest
from mlx_lm.tuner.utils import linear_to_lora_layers

from mlx_deepseek import Caching, Sampling, load
from mlx_deepseek.errors import ConfigError

GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module", autouse=True)
def cache_folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def document(engine) -> list[int]:
    """A prompt of more than one block."""
    return engine.encode("one two three four five six seven eight nine ten " * 30)[:300]


def answer(engine, ids, **options):
    done = engine.generate(ids, max_tokens=6, sampling=GREEDY, **options)
    return done.reasoning + "|" + done.text, done.usage.cached_tokens


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("speculate", [0, 1])
def test_a_restarted_engine_starts_from_the_stored_prefix(tmp_path, bits, speculate):
    caching = Caching(bits=bits, speculate=speculate, prefix_folder=tmp_path)
    first, second = load("nano", caching=caching), load("nano", caching=caching)
    ids = document(first)
    fresh, cached = answer(first, ids)
    assert cached == 0
    again, cached = answer(second, ids)
    assert again == fresh
    assert cached == 256 - speculate  # the MTP layer sees one token again


def test_another_conversation_starts_from_memory():
    engine = load("nano")
    ids = document(engine)
    fresh, _ = answer(engine, ids)
    again, cached = answer(engine, ids, kept=engine.new_cache())
    assert (again, cached) == (fresh, 255)


def test_a_model_with_adapters_neither_finds_nor_stores(tmp_path):
    caching = Caching(prefix_folder=tmp_path)
    engine = load("nano", caching=caching)
    ids = document(engine)
    answer(engine, ids)
    adapted = load("nano", caching=caching)
    linear_to_lora_layers(adapted.model, 1, {"rank": 2, "scale": 1.0, "dropout": 0.0})
    assert answer(adapted, ids)[1] == 0


def test_other_formats_of_the_cache_do_not_meet(tmp_path):
    ids = document(load("nano"))
    answer(load("nano", caching=Caching(prefix_folder=tmp_path)), ids)
    assert answer(load("nano", caching=Caching(bits=8, prefix_folder=tmp_path)), ids)[1] == 0


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="4 or 8"):
        Caching(bits=3)
    with pytest.raises(ConfigError, match="0 or more"):
        Caching(speculate=-1)
