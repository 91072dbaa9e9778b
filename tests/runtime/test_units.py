"""Sizes as people write them."""

import pytest

from mlx_deepseek.errors import ConfigError
from mlx_deepseek.runtime.units import parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("96GB", 96 * 10**9), ("1.5 GiB", 3 * 2**29), ("800kB", 800_000), ("5B", 5)],
)
def test_sizes_in_words(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "96", "GB", "-1GB", "0GB", "96 gigs"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigError, match="96GB"):
        parse_size(text)
