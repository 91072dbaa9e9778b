"""Pictures depend on their seed and on nothing else; streams, previews, what a PNG says."""

import json

import mlx.core as mx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mlx_deepseek.errors import ImageError
from mlx_deepseek.image_generation import DrawSettings, draw
from mlx_deepseek.image_generation.canvas import Canvas
from mlx_deepseek.image_generation.draw import AT_A_TIME, METADATA_KEY, Origin, read_origin

FEW = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@given(st.integers(0, 2**53 - 100), st.integers(1, 5), st.integers(0, 4), st.integers(0, 7))
@settings(max_examples=4, **FEW)
def test_a_picture_is_the_same_alone_and_among_others(pictures, seed, n, i, preview_every):
    seeds = range(seed, seed + n)
    i %= n
    assert pictures(seeds, preview_every)[i] == pictures([seed + i])[0]


def test_seeds_give_different_pictures(pictures):
    drawn = pictures(range(6))
    assert len(set(drawn)) == 6
    assert pictures(range(6)) == drawn


def test_every_step_is_told_and_turns_follow_each_other(way):
    chosen, method = way
    seeds = range(AT_A_TIME + 1)
    progress = list(draw(method, "a cat", seeds, chosen, model="tiny", preview_every=3))
    total = progress[0].total
    assert [one.done for one in progress] == list(range(1, total + 1))
    assert next(len(one.pictures) for one in progress if one.pictures) == AT_A_TIME
    assert len(progress[-1].pictures) == AT_A_TIME + 1
    previews = [len(one.previews) for one in progress if one.previews]
    assert previews[0] == AT_A_TIME
    assert previews[-1] == 1
    assert all(
        one.image.size == (48, 48) or one.image.size == (64, 64) for one in progress[-1].pictures
    )


def test_closing_ends_the_work_within_one_step():
    steps = []

    def method(seeds):
        try:
            for done in range(1, 100):
                steps.append(done)
                yield Canvas(done, 100, lambda i: mx.zeros((2, 2, 3)))
        finally:
            steps.append("closed")

    stream = draw(method, "a cat", [1, 2], DrawSettings(), model="tiny")
    next(stream)
    next(stream)
    stream.close()
    assert steps == [1, 2, "closed"]


def test_a_png_says_what_made_it(tmp_path, way):
    chosen, method = way
    *_, last = draw(method, "Ein Kätzchen 猫", [7], chosen, model="tiny", recipe="4bit")
    (picture,) = last.pictures
    picture.save(tmp_path / "cat.png")
    with Image.open(tmp_path / "cat.png") as opened:
        assert opened.tobytes() == picture.image.tobytes()
        assert read_origin(opened) == picture.origin
    assert picture.origin == Origin("tiny", "4bit", "Ein Kätzchen 猫", 7, **vars(chosen))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"seed": 1}', json.dumps({"x": 1}), "null"])
def test_damaged_metadata_is_told(text):
    picture = Image.new("RGB", (2, 2))
    assert read_origin(picture) is None
    picture.info[METADATA_KEY] = text
    with pytest.raises(ImageError, match="damaged"):
        read_origin(picture)
