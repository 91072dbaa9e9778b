"""Drawing with engines: from words to pictures, and what is refused before it starts."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlx_deepseek as ds
from mlx_deepseek.engine import drawing
from mlx_deepseek.engine.drawing import VAE_REPO
from mlx_deepseek.errors import CheckpointError, ConfigError, PromptError
from mlx_deepseek.runtime import memory
from tests.hub_server import served
from tests.image_generation import tiny

CASES = ("janus", "janus_pro", "janusflow")
FEW_STEPS = {"janus": {}, "janus_pro": {}, "janusflow": {"steps": 3}}


@pytest.fixture(autouse=True)
def cache_folder(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def release(goldens_root, tmp_path_factory) -> Any:
    """A function from a golden case to a release with a tokenizer."""

    @cache
    def folder(name: str) -> Path:
        return tiny.release(goldens_root / name, tmp_path_factory.mktemp("release") / name)

    return folder


@pytest.fixture(scope="module", params=CASES)
def case(request, release) -> Any:
    return request.param, ds.load(release(request.param), dtype="float32")


def drawn(engine, *args, **options) -> tuple:
    *_, last = engine.draw(*args, **options)
    return last.pictures


def test_pictures_of_a_prompt(case):
    name, engine = case
    assert engine.draws
    assert engine.sees
    pictures = drawn(engine, "a red bicycle", 2, seed=3, **FEW_STEPS[name])
    again = drawn(engine, "a red bicycle", seed=4, **FEW_STEPS[name])
    other = drawn(engine, "a blue bicycle", seed=4, **FEW_STEPS[name])
    assert [picture.origin.seed for picture in pictures] == [3, 4]
    assert pictures[0].image.tobytes() != pictures[1].image.tobytes()
    assert pictures[1].image.tobytes() == again[0].image.tobytes() != other[0].image.tobytes()
    assert pictures[0].origin.prompt == "a red bicycle"
    assert pictures[0].score is None


def test_where_memory_is_short_pictures_are_drawn_one_by_one(case, monkeypatch):
    name, engine = case
    together = drawn(engine, "a cat", 3, seed=0, **FEW_STEPS[name])
    turns, original = [], drawing.draw

    def noting(*args, **options):
        turns.append(options["at_a_time"])
        return original(*args, **options)

    monkeypatch.setattr(drawing, "draw", noting)
    for usable, expected in ((1 << 40, 4), (0, 1)):
        monkeypatch.setattr(memory, "machine_memory_bytes", lambda usable=usable: usable)
        again = drawn(engine, "a cat", 3, seed=0, **FEW_STEPS[name])
        assert turns[-1] == expected
        assert [a.image.tobytes() for a in again] == [b.image.tobytes() for b in together]


def test_the_model_chooses_the_best(case):
    name, engine = case
    best = drawn(engine, "a cat", 2, seed=0, best_of=5, **FEW_STEPS[name])
    scores = [picture.score for picture in best]
    assert len(best) == 2
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    every = drawn(engine, "a cat", 5, seed=0, **FEW_STEPS[name])
    pictures = {picture.origin.seed: picture.image.tobytes() for picture in every}
    assert all(pictures[one.origin.seed] == one.image.tobytes() for one in best)


def test_what_it_drew_can_be_asked_about(case):
    name, engine = case
    (picture,) = drawn(engine, "a cat", seed=0, **FEW_STEPS[name])
    answer = engine.generate("What is this?", images=[picture.image], max_tokens=3)
    assert 1 <= answer.usage.completion_tokens <= 3


@pytest.mark.parametrize("recipe", ["bf16", "4bit"])
@pytest.mark.parametrize("name", ["janus_pro", "janusflow"])
def test_conversions_draw_the_same_twice(release, tmp_path, name, recipe):
    from mlx_deepseek_convert import convert

    convert(release(name), tmp_path / "mlx", recipe)
    first, second = (
        drawn(ds.load(tmp_path / "mlx"), "a cat", seed=1, **FEW_STEPS[name])[0] for _ in range(2)
    )
    assert first.image.tobytes() == second.image.tobytes()
    assert first.origin.recipe == recipe
    assert np.asarray(first.image).std() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 1001}, "n is 1001"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"preview_every": -1}, "preview_every is -1"),
        ({"n": 3, "best_of": 2}, "best_of is 2. Expected a whole number from 3"),
    ],
)
def test_wrong_values_are_told_before_anything_is_drawn(case, options, message):
    with pytest.raises(PromptError, match=message):
        case[1].draw("a cat", **options)


@pytest.mark.parametrize("prompt", ["", " \n", "x" * 20_000])
def test_prompts_that_cannot_be_drawn(case, prompt):
    with pytest.raises(PromptError, match="prompt"):
        case[1].draw(prompt)


def test_control_tokens_in_a_prompt_are_words(case):
    _, engine = case
    style = engine.prompt_format
    ids = style.drawing_ids(engine.tokenizer, f"a {style.begins_drawing} cat")
    begin = engine.tokenizer.get_vocab()[style.begins_drawing]
    assert ids.count(begin) == 1
    assert ids[-1] == begin


def test_models_without_a_brush_say_so():
    engine = ds.load("nano")
    assert not engine.draws
    with pytest.raises(PromptError, match="nano draws no pictures"):
        engine.draw("a cat")


def test_the_vae_comes_from_the_hub(release, tmp_path, monkeypatch):
    """Once, and of its repository only what diffusers reads."""
    folder, vae = tmp_path / "flow", release("janusflow") / "vae"
    shutil.copytree(release("janusflow"), folder, ignore=shutil.ignore_patterns("vae"))
    files = {path.name: path.read_bytes() for path in vae.iterdir()}
    files |= {"sdxl_vae.safetensors": files["diffusion_pytorch_model.safetensors"][:-9]}
    expected = drawn(ds.load(release("janusflow"), recipe="bf16"), "a cat", seed=1, steps=2)
    with served({VAE_REPO: files}, tmp_path, monkeypatch) as hub:
        engine = ds.load(folder, recipe="bf16")
        first = drawn(engine, "a cat", seed=1, steps=2)
        fetched = len(hub.log)
        second = drawn(engine, "a cat", seed=1, steps=2)
        assert len(hub.log) == fetched
        assert not [path for _, path, _ in hub.log if "sdxl_vae.safetensors" in path]
    pictures = [one[0].image.tobytes() for one in (expected, first, second)]
    assert len(set(pictures)) == 1


def test_a_vae_alone_is_no_model_to_load(release):
    with pytest.raises(ConfigError, match="part of JanusFlow"):
        ds.load(release("janusflow") / "vae", dtype="float32")


@pytest.mark.parametrize("damage", ["missing", "cut", "config"])
def test_a_vae_that_cannot_be_loaded_is_named(release, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    folder = tmp_path / "flow"
    shutil.copytree(release("janusflow"), folder)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    match damage:
        case "missing":
            shutil.rmtree(folder / "vae")
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "config":
            (folder / "vae" / "config.json").write_text("{")
    engine = ds.load(folder, dtype="float32")
    with pytest.raises(CheckpointError, match=r"VAE stabilityai/sdxl-vae.*flow/vae"):
        engine.draw("a cat")
    assert engine.generate("Hi", max_tokens=1).usage.completion_tokens == 1
