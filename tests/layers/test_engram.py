"""Engram: hashes of n-grams as the release computes them, and what they may not depend on."""

import mlx.core as mx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.layers.engram import (
    PICTURE,
    Engram,
    EngramConfig,
    HashConfig,
    multipliers,
    row_numbers,
    table_sizes,
)

# DeepSeek-V4.1-Flash's, of 99,092 classes of tokens.
RELEASED = {
    1: [76632096046245, 4839876093313, 35959672319349, 73987337458391],
    14: [67716810739261, 51510806800915, 30921347202721, 82619226485591],
}
HASH = HashConfig(table_sizes(1, 4, 2, 50)[0], multipliers(1, 4, 88), pad=2, vocab=88)


def test_constants_are_those_of_the_release():
    for layer, factors in RELEASED.items():
        assert list(multipliers(layer, 4, 99_092)) == factors
    sizes = table_sizes(2, 4, 8, 16_000_000)
    assert [sum(map(sum, layer)) for layer in sizes] == [384_006_168, 384_016_682]
    assert (sizes[0][0][0], sizes[1][2][7]) == (16_000_057, 16_000_889)


@settings(deadline=None)
@given(tokens=st.lists(st.integers(0, 87), min_size=1, max_size=20), new=st.integers(1, 20))
def test_rows_depend_on_the_last_tokens_alone(tokens, new):
    new = min(new, len(tokens))
    history = np.array([tokens])
    whole = row_numbers(HASH, 2, history, len(tokens))
    recent = history[:, -(new + HASH.longest - 1) :]
    assert np.array_equal(row_numbers(HASH, 2, recent, new), whole[:, -new:])


def test_no_ngram_goes_over_a_picture():
    beyond = [np.array([[first, 9, PICTURE, 5, 6]]) for first in (1, 7)]
    rows = [row_numbers(HASH, 2, tokens, 2) for tokens in beyond]
    start = row_numbers(HASH, 2, np.array([[5, 6]]), 2)
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[0], start)


def test_pictures_take_nothing():
    layer = Engram(EngramConfig(8, 2, sum(map(sum, HASH.sizes)), 4, 1e-6, HASH))
    layer.attach(np.arange(88, dtype=np.int32))
    pictures = mx.array([[False, True, False]])
    copies = mx.random.normal((1, 3, 2, 8))
    out = layer(copies, layer.compress(mx.array([[3, 4, 5]]), pictures))
    changed = mx.abs(out - copies).max((0, 2, 3)) > 0
    assert changed.tolist() == [True, False, True]
