"""The trainer: the same numbers as the model that is shipped, balanced experts, falling loss."""

import itertools

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten
from tokenizers import Tokenizer

from mlx_deepseek import models
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.nano import checkpoint_path, fast_math
from mlx_deepseek.nano.data import PAD_ID, batches
from mlx_deepseek.nano.dense_moe import build_for_training
from mlx_deepseek.nano.muon import orthogonal
from mlx_deepseek.nano.objective import balance, draft_logits
from mlx_deepseek.nano.problem import held_out
from mlx_deepseek.nano.shape import nano_config
from mlx_deepseek.nano.tasks import FAMILIES
from mlx_deepseek.nano.train import Plan, Trainer, new_trainer

TOKENIZER = Tokenizer.from_file(str(checkpoint_path() / "tokenizer.json"))
SMALL = nano_config(num_hidden_layers=2, hidden_size=64, intermediate_size=64)


def close(a: mx.array, b: mx.array) -> float:
    return (mx.abs(a - b).max() / mx.abs(b).max()).item()


@pytest.fixture(scope="module")
def pair():
    """A model as it is trained and as it is run, with the same random weights."""
    mx.random.seed(1)
    trained, moes = build_for_training(SMALL)
    trained.update({"model": {"norm": {"weight": mx.random.normal((64,))}}})
    for moe in moes:
        moe.gate.weight = mx.random.normal(moe.gate.weight.shape)
        moe.gate.e_score_correction_bias = 0.3 * mx.random.normal((8,))
    normal = models.build(SMALL)
    normal.load_weights(tree_flatten(trained.parameters()))
    return trained, normal, moes


def test_dense_experts_equal_the_normal_layer(pair):
    trained, normal, _ = pair
    x = mx.random.normal((3, 40, 64))
    assert close(trained.layers[1].mlp(x), normal.layers[1].mlp(x)) < 1e-5


def test_the_whole_model_and_its_mtp_layer_equal_the_normal_ones(pair):
    trained, normal, _ = pair
    ids = mx.random.randint(3, 640, (2, 33))
    assert close(trained(ids), normal(ids)) < 1e-4
    normal.mtp[0].embed_tokens.weight = normal.model.embed_tokens.weight
    normal.mtp[0].shared_head.head.weight = normal.lm_head.weight
    (ahead,) = draft_logits(trained, trained.hidden(ids)[:, :-1], ids[:, 1:], 1)
    assert close(ahead, normal.mtp_logits(ids)) < 1e-4


@pytest.mark.parametrize("start", [0, 7, 28])
def test_drafts_of_all_places_are_what_a_drafter_computes_from_each(pair, start):
    trained, normal, _ = pair
    ids = mx.random.randint(3, 640, (2, 33))
    layer, hidden = normal.mtp[0], normal.hidden(ids)
    layer.embed_tokens.weight = normal.model.embed_tokens.weight
    layer.shared_head.head.weight = normal.lm_head.weight
    drafted = draft_logits(trained, trained.hidden(ids)[:, :-1], ids[:, 1:], 3)
    cache = layer.make_cache()
    seen = slice(0, start + 1)
    state = layer.predict(hidden[:, seen], ids[:, 1:][:, seen], "causal", cache)[:, -1:]
    assert close(drafted[0][:, start], layer.shared_head(state)[:, 0]) < 1e-4
    for number in (1, 2):
        state = layer.predict(state, ids[:, start + number + 1 :][:, :1], None, cache)
        assert close(drafted[number][:, start], layer.shared_head(state)[:, 0]) < 1e-4


def test_only_the_mtp_layer_of_a_finished_model_changes(pair):
    finished = dict(tree_flatten(pair[1].parameters()))
    trainer = Trainer(SMALL, TOKENIZER, Plan(tokens=256, steps=2), finished)
    trainer.update(next(batches(TOKENIZER, trainer.weights, 256, 0)))
    after = dict(tree_flatten(trainer.model.parameters()))
    changed = {name for name, value in finished.items() if not mx.array_equal(value, after[name])}
    assert "mtp.0.eh_proj.weight" in changed
    assert all(name.startswith("mtp.0.") for name in changed)


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


def test_the_balance_rule_favours_idle_experts():
    bias = balance(mx.zeros(4), mx.array([10.0, 0.0, 5.0, 5.0]), 0.01)
    np.testing.assert_allclose(np.array(bias), [-0.01, 0.01, 0, 0])


def test_the_balance_rule_evens_out_a_lopsided_router():
    mx.random.seed(2)
    scores = mx.sigmoid(mx.random.normal((4000, 8)) + mx.linspace(-1, 1, 8))
    bias, busiest = mx.zeros(8), []
    for _ in range(400):
        chosen = mx.argpartition(-(scores + bias), kth=1, axis=-1)[:, :2]
        load = (chosen.reshape(-1, 1) == mx.arange(8)).sum(axis=0).astype(mx.float32)
        busiest.append((load.max() / load.mean()).item())
        bias = balance(bias, load, 2e-3)
        mx.eval(bias)
    assert busiest[0] > 1.5
    assert busiest[-1] < 1.1


def test_muon_updates_are_nearly_orthogonal():
    for shape in ((64, 128), (128, 64), (3, 64, 64)):
        singular = mx.linalg.svd(orthogonal(mx.random.normal(shape)), False, stream=mx.cpu)
        assert singular.max().item() < 1.4
        assert mx.median(singular).item() > 0.6


def test_batches_hold_only_training_problems_and_little_padding():
    stream = batches(TOKENIZER, dict.fromkeys(FAMILIES, 1.0), 2048, seed=3)
    used = total = 0
    for batch in itertools.islice(stream, 12):
        assert batch.ids.shape[1] % 16 == 0
        for ids, prompt, length in zip(batch.ids, batch.prompt, batch.total, strict=True):
            text = TOKENIZER.decode(list(ids[:prompt]), skip_special_tokens=False)
            question = text.split("<｜User｜>")[-1].split("<｜Assistant｜>")[0]
            assert not held_out(question)
            assert ids[length - 1] == 1
            assert (ids[length:] == PAD_ID).all()
        used += batch.total.sum()
        total += batch.ids.size
    assert used / total > 0.85


def test_twenty_steps_lower_the_loss_and_a_run_resumes(tmp_path):
    plan = Plan(steps=20, tokens=512, warmup_steps=2)
    trainer = Trainer(SMALL, TOKENIZER, plan)
    stream = batches(TOKENIZER, trainer.weights, plan.tokens, seed=4)
    losses = [trainer.update(next(stream))["loss"] for _ in range(20)]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:2])
    moved = trainer.moes[0].gate.e_score_correction_bias
    assert mx.abs(moved).max().item() > 0
    trainer.save(tmp_path)
    other = Trainer(SMALL, TOKENIZER, Plan(steps=30, tokens=512))
    other.resume(tmp_path)
    assert other.step == 20
    batch = next(stream)
    assert abs(other.update(batch)["loss"] - trainer.update(batch)["loss"]) < 1e-4


def test_nothing_to_resume_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no training run"):
        new_trainer(tmp_path, Plan(), resume=True)


def test_the_schedule_ends_at_zero():
    trainer = Trainer(SMALL, TOKENIZER, Plan(steps=100, warmup_steps=10))
    rates = []
    for trainer.step in range(100):
        rates.append(trainer.rate())
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == 1.0
    assert rates[-1] < 0.02


def test_families_that_fail_are_asked_more_often():
    trainer = Trainer(SMALL, TOKENIZER, Plan(steps=1))
    right = np.array([True] * 400)
    trainer._learn_weights(["addition"] * 400, right)
    assert trainer.weights["addition"] < trainer.weights["sorting"] / 3
