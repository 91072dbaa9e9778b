"""Costs of quantizing: the whole model's, measured a layer at a time."""

import mlx.core as mx
import pytest

from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.checkpoint.load_weights import load_source
from mlx_deepseek_convert import convert
from mlx_deepseek_convert.quality import costs as remembered_costs
from mlx_deepseek_convert.quality.costs import nano_costs
from mlx_deepseek_convert.quality.layerwise import no_progress
from mlx_deepseek_convert.quality.report import Wanted, sequences
from mlx_deepseek_convert.quality.score import scored_rows, summarise, tally
from mlx_deepseek_convert.quality.sensitivity import BITS, affordable, classes, measure, quantized
from mlx_deepseek_convert.quality.tensor_classes import TensorClass
from mlx_deepseek_convert.quality.texts import ScoredBatch
from mlx_deepseek_convert.source.checkpoint import open_source

CASES = [
    "deepseek_moe_16b",
    "deepseek_v2",
    "deepseek_v3_fp8",
    "deepseek_v32",
    "deepseek_v4_fp4",
    "deepseek_v4_vision",
    "deepseek_llm_67b",
    "r1_distill_qwen",
    "deepseek_vl2",
    "deepseek_ocr",
]


@pytest.fixture(scope="module")
def exercises():
    return sequences(checkpoint_path(), Wanted(count=1), held_out=False)[:3]


@pytest.fixture(scope="module")
def costs(exercises):
    return measure(checkpoint_path(), exercises)


def test_they_fall_with_bits(costs):
    assert costs.keys() == nano_costs(costs).keys()
    for member, cost in costs.items():
        assert cost[2] > cost[4] > cost[8] > -1e-6, member


@pytest.mark.parametrize("kind", ["embedding", "head", "attention", "routed experts"])
def test_they_are_the_whole_models(costs, exercises, kind):
    member = next(member for member in costs if member.kind == kind)
    model, _ = load_source(checkpoint_path(), mx.float32)
    modules = [dict(model.named_modules())[path] for path in classes(model)[member]]
    truth = [model(batch.ids) for batch in exercises]
    mx.eval(truth)
    with quantized(modules, 3):
        sums = [
            tally(*rows)
            for batch, logits in zip(exercises, truth, strict=True)
            for rows in scored_rows(batch, logits, model(batch.ids))
        ]
    assert costs[member][3] == pytest.approx(summarise(sums).kl, rel=0.01)


def test_few_variants_tell_what_others_cost(costs, exercises):
    tokens = sum(batch.ids.size for batch in exercises)
    room = 4 * 128 * len(costs) * 2 * tokens  # for two of six
    assert affordable(exercises, 2 * tokens)[0] == (2, 4)
    estimated = measure(checkpoint_path(), exercises, states_bytes=room)
    for member, cost in estimated.items():
        assert cost[2] == pytest.approx(costs[member][2], rel=1e-3)
        assert cost[4] == pytest.approx(costs[member][4], rel=1e-3)
        if costs[member][3] > 1e-3:  # below, single tokens decide among so few
            assert costs[member][3] / 3 < cost[3] < 3 * costs[member][3], member


def test_too_little_room_takes_fewer_sequences(exercises):
    first = exercises[0].ids.size
    assert affordable(exercises, first) == ((4,), exercises[:1])
    assert affordable(exercises, 1) == ((4,), exercises[:1])
    everything = sum(batch.ids.size for batch in exercises)
    assert affordable(exercises, len(BITS) * everything) == (BITS, exercises)


@pytest.mark.parametrize("case", CASES)
def test_of_every_architecture(goldens_root, goldens, case):
    ids = goldens(case).get("input_ids", mx.arange(5, 20)[None])[:1, :12]
    batch = ScoredBatch(ids, mx.array([1]))
    costs = measure(goldens_root / case, [batch])
    assert TensorClass("head") in costs or TensorClass("embedding") in costs
    assert all(found.keys() == set(BITS) for found in costs.values())
    assert max(found[2] for found in costs.values()) > 0


def test_of_an_mlx_checkpoint(tmp_path, exercises, costs):
    convert("nano", tmp_path / "bf16", "bf16")
    again = measure(tmp_path / "bf16", exercises[:1], states_bytes=1)
    assert again.keys() == costs.keys()


def test_they_are_measured_once(tmp_path, monkeypatch, costs):
    calls = []
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path))
    monkeypatch.setattr(remembered_costs, "measure", lambda *args: calls.append(args) or costs)
    source, wanted = open_source(checkpoint_path()), Wanted(count=1)
    assert remembered_costs.measured_once(source, wanted, no_progress) == costs
    assert remembered_costs.measured_once(source, wanted, no_progress) == costs
    assert len(calls) == 1
    remembered_costs.measured_once(source, Wanted(count=2), no_progress)
    assert len(calls) == 2
