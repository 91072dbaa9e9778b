"""Nano's training: falling loss, balanced experts, families that fail asked more often."""

import itertools

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_deepseek.nano.tasks import FAMILIES
from mlx_deepseek.nano.tasks.problem import held_out
from mlx_deepseek.nano.text.data import LENGTH_STEP, PAD_ID, batches
from mlx_deepseek.nano.text.loss import balance
from mlx_deepseek.nano.text.train import TextTrainer, TextTrainingPlan
from tests.nano.text.small import SMALL, TOKENIZER

PLAN = TextTrainingPlan(steps=20, tokens=512, warmup_steps=2)


@pytest.fixture(scope="module")
def batch():
    return next(batches(TOKENIZER, dict.fromkeys(FAMILIES, 1.0), PLAN.tokens, seed=4))


@pytest.fixture(scope="module")
def trained(batch):
    trainer = TextTrainer(SMALL, TOKENIZER, PLAN)
    trainer.first = trainer.update(batch)
    return trainer


def test_a_batch_is_learned_experts_are_balanced_and_the_run_resumes(trained, batch, tmp_path):
    for _ in range(6):
        last = trained.update(batch)
    assert last["loss"] < 0.9 * trained.first["loss"]
    assert {"draft 1", "draft 2", "draft 3", "load"} < last.keys()
    assert mx.abs(trained.moes[0].gate.e_score_correction_bias).max().item() > 0
    trained.save(tmp_path)
    other = TextTrainer(SMALL, TOKENIZER, PLAN)
    other.resume(tmp_path)
    assert (other.step, other.accuracy) == (7, trained.accuracy)
    assert abs(other.update(batch)["loss"] - trained.update(batch)["loss"]) < 1e-4


def test_the_export_is_a_release_with_its_mtp_layer(trained, tmp_path):
    trained.export(tmp_path / "nano")
    tensors = mx.load(str(tmp_path / "nano" / "model.safetensors"))
    assert all(
        value.dtype == (mx.float32 if name.endswith("correction_bias") else mx.bfloat16)
        for name, value in tensors.items()
    )
    copy, original = "model.layers.2.embed_tokens.weight", "model.embed_tokens.weight"
    assert mx.array_equal(tensors[copy], tensors[original])
    assert "model.layers.1.mlp.experts.7.up_proj.weight" in tensors
    both = tensors["model.layers.0.self_attn.kv_b_proj.weight"]
    attention = trained.model.layers[0].self_attn
    up, down = attention.embed_q.weight.swapaxes(-1, -2), attention.unembed_out.weight
    joined = mx.concatenate([up, down], axis=1).flatten(0, 1).astype(mx.bfloat16)
    assert mx.array_equal(both, joined)
    assert "What it can do" in (tmp_path / "nano" / "README.md").read_text(encoding="utf-8")


def test_only_the_mtp_layer_of_a_finished_model_changes(trained, batch):
    finished = dict(tree_flatten(trained.model.parameters()))
    trainer = TextTrainer(SMALL, TOKENIZER, PLAN, finished, mtp_only=True)
    trainer.update(batch)
    after = dict(tree_flatten(trainer.model.parameters()))
    changed = {name for name, value in finished.items() if not mx.array_equal(value, after[name])}
    assert "mtp.0.eh_proj.weight" in changed
    assert all(name.startswith("mtp.0.") for name in changed)


def test_without_drafts_the_mtp_layer_is_left_alone(trained, batch):
    start = dict(tree_flatten(trained.model.parameters()))
    trainer = TextTrainer(SMALL, TOKENIZER, TextTrainingPlan(steps=2, tokens=512, drafts=0), start)
    assert "draft 1" not in trainer.update(batch)
    after = dict(tree_flatten(trainer.model.parameters()))
    changed = {name for name, value in start.items() if not mx.array_equal(value, after[name])}
    assert "lm_head.weight" in changed
    assert not any(name.startswith("mtp.0.") for name in changed)


def test_families_that_fail_are_asked_more_often(trained):
    trained.take(["addition"] * 400, np.array([True] * 400))
    assert trained.weights["addition"] < trained.weights["sorting"] / 3


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


def test_batches_hold_only_training_problems_and_little_padding():
    stream = batches(TOKENIZER, dict.fromkeys(FAMILIES, 1.0), 2048, seed=3)
    used = total = 0
    for batch in itertools.islice(stream, 12):
        assert batch.ids.shape[1] % LENGTH_STEP == 0
        for ids, prompt, length in zip(batch.ids, batch.prompt, batch.total, strict=True):
            text = TOKENIZER.decode(list(ids[:prompt]), skip_special_tokens=False)
            question = text.split("<｜User｜>")[-1].split("<｜Assistant｜>")[0]
            assert not held_out(question)
            assert ids[length - 1] == 1
            assert (ids[length:] == PAD_ID).all()
        used += batch.total.sum()
        total += batch.ids.size
    assert used / total > 0.85
