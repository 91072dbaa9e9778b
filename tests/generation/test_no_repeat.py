"""The n-grams that are banned are those of the authors' own search, written out plainly."""

import random

import mlx.core as mx

from mlx_deepseek.generation.no_repeat import NoRepeat, for_vocabulary


def plainly(tokens, size, window, allowed):
    """All n-grams within the window, one after another."""
    banned = set()
    if len(tokens) >= size:
        for start in range(max(0, len(tokens) - window), len(tokens) - size + 1):
            ngram = tokens[start : start + size]
            if ngram[:-1] == tokens[len(tokens) - size + 1 :]:
                banned.add(ngram[-1])
    return banned - allowed


def test_equal_to_a_plain_search():
    chance = random.Random(7)
    some = 0
    for _ in range(400):
        size, window = chance.randrange(1, 5), chance.randrange(4, 20)
        tokens = [chance.randrange(4) for _ in range(chance.randrange(30))]
        allowed = frozenset(chance.sample(range(4), 1))
        logits = NoRepeat(size, window, allowed)(mx.array(tokens, dtype=mx.int32), mx.zeros((1, 4)))
        found = {i for i, value in enumerate(logits[0].tolist()) if value == -mx.inf}
        assert found == plainly(tokens, size, window, allowed)
        some += bool(found)
    assert some > 50


def test_circles_end():
    rule = for_vocabulary({"<td>": 3, "x": 5})
    assert (rule.size, rule.window, rule.allowed) == (20, 50, {3})
    logits = mx.array([[0.0, 1.0, 2.0, 3.0]])
    assert mx.argmax(rule(mx.array([2] * 19), logits + 0)).item() == 3
    assert mx.argmax(rule(mx.array([2] * 20), mx.array([[0.0, 1.0, 2.0]]))).item() == 1
    assert mx.argmax(rule(mx.array([3] * 30), logits + 0)).item() == 3  # a table's cells
