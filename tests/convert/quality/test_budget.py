"""Bits for a budget: the knapsack, the classes it divides among, and the commands on top."""

import argparse
import json

import pytest

from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.errors import ConfigError
from mlx_deepseek_convert import command
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.quality.budget import choose, describe, fitted, recipe, sizes
from mlx_deepseek_convert.quality.costs import nano_costs
from mlx_deepseek_convert.quality.layerwise import LayerwiseModel
from mlx_deepseek_convert.quality.report import Wanted, sequences
from mlx_deepseek_convert.quality.score import compare
from mlx_deepseek_convert.quality.sensitivity import BITS
from mlx_deepseek_convert.quality.tensor_classes import TensorClass, class_of, pattern_of
from mlx_deepseek_convert.source.checkpoint import open_source
from mlx_deepseek_convert.upload import check_whole

FIRST, SECOND = TensorClass("a"), TensorClass("b")
TAKES = {FIRST: {b: 10 * b for b in BITS}, SECOND: {b: 100 * b for b in BITS}}


def test_bits_go_where_a_byte_saves_most():
    equal = {b: 1.0 / b**2 for b in BITS}
    chosen = choose(TAKES, {FIRST: equal, SECOND: equal}, 500)
    assert chosen[FIRST] == 8  # a tenth of the bytes for the same gain
    assert 2 < chosen[SECOND] < 8
    assert sum(TAKES[member][bits] for member, bits in chosen.items()) <= 500
    steep = {b: 10.0 if b < 4 else 0.0 for b in BITS}
    chosen = choose(TAKES, {FIRST: {b: 0.001 * v for b, v in equal.items()}, SECOND: steep}, 420)
    assert chosen == {FIRST: 2, SECOND: 4}  # although 3 bits alone gain nothing


def test_noise_never_takes_bits_away():
    noisy = {2: 0.5, 3: 0.1, 4: 0.2, 5: 0.01, 6: 0.02, 8: 0.0}
    everything = sum(TAKES[member][8] for member in TAKES)
    assert set(choose(TAKES, {FIRST: noisy, SECOND: noisy}, everything).values()) == {8}


def test_too_small_a_budget():
    flat = dict.fromkeys(BITS, 0.0)
    assert choose(TAKES, {FIRST: flat, SECOND: flat}, 220) == {FIRST: 2, SECOND: 2}
    with pytest.raises(ConfigError, match="Does not fit"):
        choose(TAKES, {FIRST: flat, SECOND: flat}, 219)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.embed_tokens", TensorClass("embedding")),
        ("lm_head", TensorClass("head")),
        ("model.layers.3.self_attn.embed_q", TensorClass("latent")),
        ("model.layers.3.self_attn.o_proj", TensorClass("attention")),
        ("model.layers.3.mlp.shared_experts.up_proj", TensorClass("shared experts")),
        ("model.layers.13.mlp.switch_mlp.up_proj", TensorClass("routed experts", 13)),
        ("model.layers.3.mlp.down_proj", TensorClass("dense mlp", 3)),
        ("mtp.0.mlp.switch_mlp.up_proj", TensorClass("mtp")),
        ("model.layers.3.mlp.gate", None),
        ("model.norm", None),
    ],
)
def test_classes(path, expected):
    assert class_of(path) == expected


@pytest.mark.parametrize("case", ["deepseek_v2", "deepseek_v3_fp8", "r1_distill_qwen"])
def test_a_chosen_recipe_is_what_the_plan_stores(goldens_root, case):
    source = open_source(goldens_root / case)
    takes, fixed = sizes(source)
    costs = nano_costs(takes)
    smallest, largest = (fixed + sum(t[b] for t in takes.values()) for b in (2, 8))
    budget = (smallest + 2 * largest) // 3
    chosen = choose(takes, costs, budget - fixed)
    plan = make_plan(source, recipe("fit", describe(chosen), chosen))
    expected = fixed + sum(takes[member][bits] for member, bits in chosen.items())
    assert plan.bytes_out == expected <= budget
    for output in plan.outputs:
        member = class_of(output.name.removesuffix(".weight"))
        if output.setting is not None and member in chosen:
            assert output.setting.bits == chosen[member], output.name


def test_layers_have_patterns_of_their_own():
    import re

    pattern = pattern_of(TensorClass("routed experts", 1))
    assert re.search(pattern, "model.layers.1.mlp.switch_mlp.up_proj")
    assert not re.search(pattern, "model.layers.11.mlp.switch_mlp.up_proj")
    assert not re.search(pattern, "model.layers.1.mlp.shared_experts.up_proj")


def test_words_for_a_choice():
    chosen = {TensorClass("routed experts", i): 3 if i in (1, 2, 4) else 2 for i in range(1, 6)}
    assert describe({TensorClass("head"): 8, **chosen}) == (
        "head 8 bits; routed experts 2 bits in layers 3 5, 3 bits in layers 1-2 4"
    )


def test_shipped_costs_keep_their_sum_over_more_layers():
    few = [TensorClass("routed experts", i) for i in range(1, 4)]
    many = [TensorClass("routed experts", i) for i in range(3, 61)]
    totals = [sum(nano_costs(layers)[m][3] for m in layers) for layers in (few, many)]
    assert totals[0] == pytest.approx(totals[1], rel=0.1)


def test_converting_nano_to_a_budget(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mlx_deepseek_convert.quality.budget.is_measurable", lambda source: False)
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    target = tmp_path / "small"
    text = tmp_path / "text"
    text.write_text("What is 12 + 13? 25. " * 40)
    words = ["convert", "nano", str(target), "--fit", "900kB", "--calibrate", str(text), "--json"]
    words.append("--no-feedback")
    args = parser.parse_args(words)
    assert args.func(args) == 0
    report = json.loads(capsys.readouterr().out)
    assert 800_000 < report["bytes_out"] <= 900_000
    assert "routed experts" in report["recipe_detail"]
    record = json.loads((target / "conversion.json").read_text())
    assert record["recipe_detail"] == report["recipe_detail"]
    assert record["calibration"]["tokens"] > 300
    check_whole(target)  # checksums are those after calibration
    assert [path.name for path in tmp_path.iterdir() if "plain" in path.name] == []
    batches = sequences(checkpoint_path(), Wanted(count=1))
    assert compare(LayerwiseModel(checkpoint_path()), LayerwiseModel(target), batches).top1 > 0.9


def test_a_budget_for_what_is_not_here_takes_shipped_costs(goldens_root, monkeypatch):
    monkeypatch.setattr("mlx_deepseek_convert.quality.budget.is_measurable", lambda source: False)
    source = open_source(goldens_root / "deepseek_v3")
    found = fitted(source, f"{make_plan(source, '4bit').bytes_out}B", Wanted())
    assert found.summary.endswith("(nano's costs)")
