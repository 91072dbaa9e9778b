"""Modules and functions that are fast on a CPU: the same numbers as those that they replace."""

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.nano.text.loss import draft_logits
from mlx_deepseek.nano.training import fast_math
from mlx_deepseek.nano.training.cpu_modules import build_for_training
from tests.nano.text.small import SMALL, close


@pytest.fixture(scope="module")
def pair():
    """A model as it is trained and as it is run, with the same random weights."""
    mx.random.seed(1)
    trained, moes = build_for_training(SMALL)
    trained.update({"model": {"norm": {"weight": mx.random.normal((SMALL["hidden_size"],))}}})
    for moe in moes:
        moe.gate.weight = mx.random.normal(moe.gate.weight.shape)
        moe.gate.e_score_correction_bias = 0.3 * mx.random.normal((8,))
    normal = models.build(SMALL)
    normal.load_weights(tree_flatten(trained.parameters()))
    layer = normal.mtp[0]
    layer.embed_tokens.weight = normal.model.embed_tokens.weight
    layer.shared_head.head.weight = normal.lm_head.weight
    return trained, normal, moes


def test_dense_experts_equal_the_normal_layer(pair):
    trained, normal, _ = pair
    x = mx.random.normal((3, 40, SMALL["hidden_size"]))
    assert close(trained.layers[1].mlp(x), normal.layers[1].mlp(x)) < 1e-5


def test_the_whole_model_and_its_mtp_layer_equal_the_normal_ones(pair):
    trained, normal, _ = pair
    ids = mx.random.randint(3, 640, (2, 33))
    assert close(trained(ids), normal(ids)) < 1e-4
    (ahead,) = draft_logits(trained, trained.hidden(ids)[:, :-1], ids[:, 1:], 1)
    assert close(ahead, normal.mtp_logits(ids)) < 1e-4


@pytest.mark.parametrize("start", [0, 7, 28])
def test_drafts_of_all_places_are_what_a_drafter_computes_from_each(pair, start):
    trained, normal, _ = pair
    ids = mx.random.randint(3, 640, (2, 33))
    layer, hidden = normal.mtp[0], normal.hidden(ids)
    drafted = draft_logits(trained, trained.hidden(ids)[:, :-1], ids[:, 1:], 3)
    cache = layer.make_cache()
    seen = slice(0, start + 1)
    state = layer.predict(hidden[:, seen], ids[:, 1:][:, seen], cache)[:, -1:]
    assert close(drafted[0][:, start], layer.shared_head(state)[:, 0]) < 1e-4
    for number in (1, 2):
        state = layer.predict(state, ids[:, start + number + 1 :][:, :1], cache)
        assert close(drafted[number][:, start], layer.shared_head(state)[:, 0]) < 1e-4


def test_loads_count_every_choice(pair):
    trained, _, moes = pair
    trained(mx.random.randint(3, 640, (2, 50)))
    assert moes[0].last_load.sum().item() == 2 * 50 * SMALL["num_experts_per_tok"]


def test_fast_math_agrees_with_mlx():
    x = 3 * mx.random.normal((64, 50))
    pairs = (
        (fast_math.exp, mx.exp),
        (fast_math.sigmoid, mx.sigmoid),
        (fast_math.softmax, lambda x: mx.softmax(x, axis=-1)),
        (lambda x: fast_math.swiglu(x, x + 1), lambda x: nn.silu(x) * (x + 1)),
    )
    weights = mx.random.normal(x.shape)
    for fast, exact in pairs:
        assert close(fast(x), exact(x)) < 1e-4
        slopes = [mx.grad(lambda x, f=f: (f(x) * weights).sum())(x) for f in (fast, exact)]
        assert close(*slopes) < 1e-3
    targets = mx.random.randint(0, 50, (64,))
    assert close(fast_math.cross_entropy(x, targets), nn.losses.cross_entropy(x, targets)) < 1e-4
