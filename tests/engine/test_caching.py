"""An engine's caches: prefixes found by other conversations and after a restart, and refusals."""

import mlx.core as mx
import pytest
from mlx_lm.tuner.utils import linear_to_lora_layers

from mlx_deepseek import Caching, Sampling, load
from mlx_deepseek.errors import ConfigError
from tests.distributed.rank0 import tokens

GREEDY = Sampling(temperature=0.0)


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


def test_cache_bits_fit_the_heads_or_are_refused_on_loading(goldens_root):
    fits = load(
        goldens_root / "r1_distill_llama", dtype="float32", caching=Caching(bits=8)
    )  # heads of 32
    assert fits.model is not None
    cache = fits.new_cache()
    ids = mx.array([[5, 7, 9, 11]])
    near, exact = fits.model(ids, cache=cache.layers), fits.model(ids)
    assert 0 < mx.abs(near - exact).max() < 0.1 * mx.std(exact)
    for case in ("deepseek_llm_7b", "deepseek_moe_16b"):  # heads of 16
        with pytest.raises(ConfigError, match="heads of 16 numbers"):
            load(goldens_root / case, dtype="float32", caching=Caching(bits=8))


def test_the_report_says_why_a_prompt_was_read_again():
    engine = load("nano", caching=Caching(speculate=0))
    ids = document(engine)
    answer(engine, ids)
    answer(engine, ids)
    answer(engine, [*ids[:40], 9, *ids[41:]])
    answer(engine, ids)  # its end is still there: the other one took a copy, or blocks
    fresh, again, other, back = engine.cache_report().records
    assert (fresh.cached_tokens, fresh.missed, fresh.source) == (0, "new", "")
    assert (again.cached_tokens, again.missed, again.source) == (299, "", "snapshot")
    assert (other.cached_tokens, other.missed, other.differs_at) == (40, "differs", 40)
    assert back.cached_tokens >= 256
    assert [one.prompt_tokens for one in (fresh, again, other, back)] == [300] * 4
    report = engine.cache_report()
    assert report.snapshots >= 1
    assert report.snapshot_bytes > 0 < report.block_bytes


def test_what_caches_cannot_go_back_to_is_told(goldens_root):
    """V4's go back to where turns ended; a prompt that ends elsewhere is read from there."""
    engine = load(goldens_root / "deepseek_v4_fp4", dtype="float32", caching=Caching(speculate=0))
    ids = [(17 * i) % 120 + 3 for i in range(300)]
    for prompt in (ids, [*ids[:150], 9, 9]):
        tokens(engine, [prompt], 2, {"temperature": 0.0})
    record = engine.cache_report().records[-1]
    assert record.cached_tokens < 150
    assert (record.missed, record.differs_at) == ("unreachable", 150)


def test_what_did_not_fit_was_evicted():
    engine = load("nano", caching=Caching(speculate=0))
    ids = document(engine)
    answer(engine, ids)
    block = engine.cache_report().block_bytes
    engine = load("nano", caching=Caching(speculate=0, prefix_bytes=block))
    for seed in (3, 5, 3):
        answer(engine, [(seed * i) % 500 + seed for i in range(300)])
    assert [one.missed for one in engine.cache_report().records] == ["new", "new", "evicted"]
