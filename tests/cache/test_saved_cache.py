"""Prompt caches as files: the same answer after a restart, and nobody else's."""

import os
import stat

import mlx.core as mx
import pytest

from mlx_deepseek import Caching, CheckpointError, ConfigError, PromptError, load, models
from mlx_deepseek.cache import saved_cache
from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.cache.saved_cache import fill_cache, save_cache
from mlx_deepseek_convert import weights

ASKED = "What is 347 + 586?"


def answer(engine, cache):
    return engine.generate(ASKED, prompt_cache=cache, temperature=0, max_tokens=12)


@pytest.mark.parametrize(
    "caching",
    [
        Caching(prefix_bytes=0, speculate=0),
        Caching(prefix_bytes=0, speculate=2),
        Caching(prefix_bytes=0, bits=8),
    ],
    ids=["plain", "drafts", "bits"],
)
def test_another_engine_goes_on_from_the_file(tmp_path, caching):
    first = load("nano", caching=caching)
    cache = first.new_cache()
    told = answer(first, cache)
    first.save_cache(cache, tmp_path / "asked")
    assert stat.S_IMODE((tmp_path / "asked").stat().st_mode) == 0o600
    second = load("nano", caching=caching)
    found = second.load_cache(str(tmp_path / "asked"))
    assert found.ids == cache.ids
    again = answer(second, found)
    assert again.reasoning == told.reasoning
    assert again.usage.cached_tokens > told.usage.cached_tokens == 0
    assert again.usage.cached_tokens >= again.usage.prompt_tokens - 2


@pytest.mark.parametrize(
    "case",
    ["deepseek_v2_lite", "deepseek_v3", "deepseek_v32", "deepseek_moe_16b", "deepseek_llm_7b"],
)
def test_every_kind_of_cache_comes_back(tmp_path, golden_config, goldens_root, case):
    model = models.build(models.without_mtp(golden_config(case)))
    model.load_weights(list(weights(goldens_root / case, "float32")), strict=False)
    cache, ids = PromptCache(model), list(range(5, 45))
    cache.prepare(ids)
    mx.eval(model(mx.array([ids]), cache=cache.layers))
    save_cache(cache, tmp_path / "c", "k")
    found = PromptCache(model)
    fill_cache(found, tmp_path / "c", "k")
    assert (found.ids, found.cached_tokens) == (ids, 40)
    logits = [model(mx.array([[7, 8]]), cache=c.layers) for c in (cache, found)]
    assert mx.array_equal(*logits)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "asked"
    engine = load("nano")
    cache = engine.new_cache()
    answer(engine, cache)
    engine.save_cache(cache, path)
    return engine, cache, path


def test_another_model_and_other_settings_refuse_it(saved):
    engine, _, path = saved
    for other in (
        load("nano-ocr"),
        load("nano", caching=Caching(bits=8)),
        load("nano", draft="nano"),
    ):
        with pytest.raises(CheckpointError, match="another model, or with other settings"):
            other.load_cache(path)
    assert engine.load_cache(path).cached_tokens


@pytest.mark.parametrize("length", [0, 5, 100, -200])
def test_a_damaged_file_is_named(saved, tmp_path, length):
    engine, _, path = saved
    (tmp_path / "half").write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="half"):
        engine.load_cache(tmp_path / "half")
    with pytest.raises(CheckpointError, match="missing"):
        engine.load_cache(tmp_path / "missing")


def test_other_files_and_versions_are_no_caches(saved, tmp_path, monkeypatch):
    engine, cache, _ = saved
    mx.save_safetensors(str(tmp_path / "weights.safetensors"), {"a": mx.ones(3)})
    monkeypatch.setattr(saved_cache, "FORMAT", "mlx-deepseek prompt cache 0")
    engine.save_cache(cache, tmp_path / "old.safetensors")
    monkeypatch.undo()
    for name in ("weights", "old"):
        with pytest.raises(CheckpointError, match="no prompt cache of this version"):
            engine.load_cache(tmp_path / f"{name}.safetensors")


def test_a_failure_leaves_the_old_file(saved, tmp_path, monkeypatch):
    engine, cache, path = saved
    (tmp_path / "kept").write_bytes(path.read_bytes())

    def full(*_):
        raise OSError("no space")

    monkeypatch.setattr(mx, "save_safetensors", full)
    with pytest.raises(OSError, match="no space"):
        engine.save_cache(cache, tmp_path / "kept")
    assert os.listdir(tmp_path) == ["kept"]
    assert (tmp_path / "kept").read_bytes() == path.read_bytes()


def test_nothing_and_what_is_in_use_are_refused(saved, tmp_path):
    engine, cache, _ = saved
    with pytest.raises(PromptError, match="empty or in use"):
        engine.save_cache(engine.new_cache(), tmp_path / "c")
    cache.busy = True
    with pytest.raises(PromptError, match="empty or in use"):
        engine.save_cache(cache, tmp_path / "c")
    cache.busy = False
    assert os.listdir(tmp_path) == []


def test_v4_says_what_to_do_instead(golden_config, tmp_path):
    cache = PromptCache(models.build(models.without_mtp(golden_config("deepseek_v4_vision"))))
    with pytest.raises(ConfigError, match="prefix_folder"):
        fill_cache(cache, tmp_path / "c", "k")
