"""The catalog as cards: what fits, where it is, what can be found."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek import catalog, models
from mlx_deepseek.models.expert_memory import memory_of
from mlx_deepseek.models.forecast import Speeds, forecast
from mlx_deepseek.runtime.chips import published_bandwidth
from mlx_deepseek_app.models import cards
from mlx_deepseek_app.models.cards_html import cards_html
from mlx_deepseek_convert import stored_bytes

GB = 10**9


@pytest.fixture(autouse=True)
def caches(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "converted"))


def named(found, name):
    return next(card for card in found if card.name == name)


def split(found):
    """The built-in models, and the others."""
    return [card for card in found if card.built_in], [card for card in found if not card.built_in]


def test_every_released_model_has_a_card_and_those_that_run_have_recipes():
    built_in, found = split(cards.cards(64 * GB))
    assert [card.name for card in built_in] == ["nano", "nano-ocr", "nano-prover"]
    assert len(found) == len(catalog.entries())
    for card, entry in zip(found, catalog.entries(), strict=True):
        assert card.runs == models.known(entry.config)
        assert bool(card.fits) == card.runs


def test_a_laptop_holds_v2_lite_and_not_v3_and_says_why():
    found = cards.cards(18 * GB)
    lite, v3 = named(found, "DeepSeek-V2-Lite-Chat"), named(found, "DeepSeek-V3")
    assert lite.best is not None
    assert lite.best.recipe == "6bit"
    assert lite.best.reason.endswith("of 15.8 GB")
    assert v3.best is None
    assert v3.fits[-1].reason == "needs 268 GB for its weights; 15.8 GB can be used here"


def test_larger_than_the_memory_with_experts_on_disk():
    """V3 takes some thirty gigabytes of memory as 4bit; a dense model has no experts."""
    small, large = cards.cards(18 * GB), cards.cards(64 * GB)
    assert named(small, "DeepSeek-V3").streamed is None
    fit = named(large, "DeepSeek-V3").streamed
    assert fit is not None
    assert fit.recipe == "4bit"
    assert 20e9 < fit.least_bytes < fit.usable_bytes < fit.weights_bytes
    assert named(large, "DeepSeek-V2-Lite-Chat").streamed is None  # all of it fits
    assert named(small, "DeepSeek-R1-Distill-Llama-70B").streamed is None
    html = cards_html([named(large, "DeepSeek-V3")], "")
    assert "the rest is read: slow" in html
    assert 'data-act="get"' in html
    assert '<option value="4bit"' in html
    assert "where 1.0 GB are free" in cards_html([named(large, "DeepSeek-V3")], "", 10**9)


def test_where_the_chip_is_known_its_memory_bounds_the_speed():
    """As the forecast from the sizes of each tensor, about; nothing where it is not known."""
    found = cards.cards(512 * GB, 819e9)
    for name in ("DeepSeek-V2-Lite-Chat", "DeepSeek-V3", "DeepSeek-R1-Distill-Qwen-7B"):
        fit = next(one for one in named(found, name).fits if one.recipe == "4bit")
        entry = catalog.find(name)
        assert entry is not None
        assert fit.bound_tps is not None
        built = models.build(models.without_mtp(entry.config))
        sizes = memory_of(built, stored_bytes(built))
        exact = forecast(sizes, {}, Speeds(819e9, 1.0)).decode_tps[0]
        assert 0.9 * exact <= fit.bound_tps <= 1.25 * exact, name
    lite = named(found, "DeepSeek-V2-Lite-Chat")
    assert lite.best is not None
    assert f"about {lite.best.bound_tps:,.0f} tokens/s (computed)" in cards_html([lite], "")
    html = cards_html([named(cards.cards(512 * GB), "DeepSeek-V2-Lite-Chat")], "")
    assert ("tokens/s" in html) == (published_bandwidth() is not None)
    assert published_bandwidth("Apple M4 Pro") == 273e9
    assert published_bandwidth("Some CPU") is None


@given(st.integers(1, 2000))
def test_what_fits_a_machine_fits_a_larger_one(memory_gb):
    entry = catalog.find("DeepSeek-R1-Distill-Qwen-7B")
    assert entry is not None
    small = cards.recipe_fits(entry, memory_gb * GB)
    large = cards.recipe_fits(entry, 2 * memory_gb * GB)
    assert all(a.context <= b.context for a, b in zip(small, large, strict=True))


def test_words_abilities_and_memory_filter():
    found = cards.cards(18 * GB)
    assert {card.family for card in cards.matching(found, "coder-v2 LITE")} == {"Coder-V2"}
    assert all("thinking" in card.abilities for card in cards.matching(found, "", "thinking"))
    fitting = cards.matching(found, only_fitting=True)
    assert fitting
    assert all(card.best or card.built_in for card in fitting)
    assert cards.matching(found, "no such model") == []


def test_a_conversion_is_found_loaded_alone_and_deleted(tmp_path):
    folder = tmp_path / "converted" / "x-4bit-0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "conversion.json").write_text(json.dumps({"source": "deepseek-ai/DeepSeek-V2-Lite"}))
    (folder / "model.safetensors").write_bytes(b"0" * 1000)
    card = named(cards.cards(64 * GB), "DeepSeek-V2-Lite")
    assert card.folders == (folder,)
    assert cards.source(card, "4bit") == (str(folder), None)
    assert cards.source(card, "6bit") == ("deepseek-ai/DeepSeek-V2-Lite", "6bit")
    assert cards.delete(card) > 1000
    assert not folder.exists()
    assert not named(cards.cards(64 * GB), "DeepSeek-V2-Lite").here


def test_a_download_is_deleted_from_the_hubs_cache(tmp_path):
    repo = tmp_path / "hub" / "models--deepseek-ai--DeepSeek-V2-Lite"
    snapshot = repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    (repo / "blobs").mkdir()
    config = {"model_type": "deepseek_v2"}
    for name, text in (("config.json", json.dumps(config)), ("model.safetensors", "0" * 500)):
        blob = repo / "blobs" / name
        blob.write_text(text)
        (snapshot / name).symlink_to(Path("../../blobs") / name)
    card = named(cards.cards(64 * GB), "DeepSeek-V2-Lite")
    assert card.downloaded
    assert cards.delete(card) >= 500
    assert not repo.exists()


def test_the_shelf_escapes_and_offers_what_can_be_done():
    found = cards.cards(18 * GB)
    card = cards.Card(
        "a/<script>", "<script>x", "V2", 10**10, None, None, '"&', (), True, found[-1].fits
    )
    html = cards_html([card], "")
    assert "<script" not in html
    assert 'data-act="get"' in html
    assert "In memory" in cards_html([card], "a/<script>")
    assert "No model matches" in cards_html([], "")
