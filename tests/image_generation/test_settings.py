"""Settings: the authors' values, ranges, what a model does not have."""

import math

import pytest

from mlx_deepseek.errors import PromptError
from mlx_deepseek.image_generation.settings import MOST_SEED, DrawSettings, picture_seeds


def test_the_authors_values():
    assert DrawSettings().filled("codes") == DrawSettings(guidance=5.0, temperature=1.0)
    assert DrawSettings().filled("flow") == DrawSettings(guidance=2.0, steps=30)
    assert DrawSettings(guidance=0.0).filled("flow").guidance == 0.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("guidance", math.nan),
        ("guidance", math.inf),
        ("guidance", -1),
        ("guidance", 101),
        ("guidance", "5"),
        ("guidance", True),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("steps", 0),
        ("steps", 1001),
        ("steps", 2.5),
        ("steps", True),
    ],
)
def test_values_outside_their_range_name_it(name, value):
    with pytest.raises(PromptError, match=rf"{name} is .* Expected a .*number from"):
        DrawSettings(**{name: value})


@pytest.mark.parametrize(("way", "name"), [("codes", "steps"), ("flow", "temperature")])
def test_what_a_model_does_not_have_is_refused(way, name):
    with pytest.raises(PromptError, match=f"{name} is set.*guidance and"):
        DrawSettings(**{name: 3}).filled(way)


def test_each_picture_has_the_next_seed():
    assert list(picture_seeds(5, 3)) == [5, 6, 7]
    assert len(picture_seeds(None, 4)) == 4
    assert picture_seeds(None, 1) != picture_seeds(None, 1)


@pytest.mark.parametrize(
    ("seed", "n"), [(0, 0), (0, 1001), (0, -1), (0, 1.5), (-1, 1), (MOST_SEED, 1), (0.5, 1)]
)
def test_numbers_and_seeds_outside_their_range(seed, n):
    with pytest.raises(PromptError, match="Expected a whole number from"):
        picture_seeds(seed, n)
