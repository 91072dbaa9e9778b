"""The weight map's laws, on names alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert.mapping.ops import Drop, SplitHeads, Stack
from mlx_deepseek_convert.mapping.rules import Rule, claim


def copy(source, target=None, *, optional=False):
    return Rule(source, (target or source,), optional=optional)


def drop(source):
    return Rule(source, (), Drop(), optional=True)


EXPERT = Rule("layers.{layer}.experts.{expert}.w", ("layers.{layer}.all.w",), Stack())


def test_layers_bind_and_experts_gather_in_order():
    names = [
        f"layers.{layer}.experts.{e}.w" for e in (10, 2, 0, 1, *range(3, 10)) for layer in (1, 0)
    ]
    claims = claim(names, [EXPERT], 2, "here")
    assert {c.targets: c.sources for c in claims} == {
        (f"layers.{layer}.all.w",): tuple(f"layers.{layer}.experts.{e}.w" for e in range(11))
        for layer in (0, 1)
    }


def test_numbers_in_rules_stand_for_themselves():
    rules = [
        copy("a.0.x", "first"),
        copy("a.1.x", "second"),
        copy("b.{block}.c.{part}", "b.{part}"),
    ]
    claims = claim(["a.0.x", "a.1.x", "b.7.c.3"], rules, 1, "here")
    assert [one.targets for one in claims] == [("first",), ("second",), ("b.3",)]
    with pytest.raises(CheckpointError, match=r"a\.2\.x"):
        claim(["a.0.x", "a.1.x", "a.2.x", "b.7.c.3"], rules, 1, "here")


def test_layers_past_the_last_are_mtp_layers():
    rules = [copy("layers.{layer}.w"), copy("layers.{mtp}.w", "mtp.{mtp}.w")]
    claims = claim([f"layers.{i}.w" for i in range(5)], rules, 3, "here")
    targets = [c.targets[0] for c in claims]
    assert targets == ["layers.0.w", "layers.1.w", "layers.2.w", "mtp.0.w", "mtp.1.w"]


def test_law_1_every_tensor_is_claimed_by_exactly_one_rule():
    with pytest.raises(CheckpointError, match=r"here: unknown tensor 'b\.w'"):
        claim(["a.w", "b.w"], [copy("a.w")], 1, "here")
    with pytest.raises(CheckpointError, match=r"'a\.w' is claimed by 'a\.w' and 'a\.w'"):
        claim(["a.w"], [copy("a.w"), drop("a.w")], 1, "here")
    with pytest.raises(CheckpointError, match="unknown tensor"):
        claim(["layers.7.w"], [copy("layers.{layer}.w")], 7, "here")  # a layer too many


def test_law_2_every_rule_claims_something_unless_optional():
    with pytest.raises(CheckpointError, match=r"no tensor named like 'b\.\{layer\}\.w'"):
        claim(["a.w"], [copy("a.w"), copy("b.{layer}.w")], 1, "here")
    assert len(claim(["a.w"], [copy("a.w"), copy("b.w", optional=True), drop("c.w")], 1, "")) == 1


@given(st.sets(st.integers(0, 30), min_size=1))
def test_law_3_expert_numbers_have_no_gap(numbers):
    names = [f"layers.0.experts.{n}.w" for n in numbers]
    if numbers == set(range(len(numbers))):
        assert len(claim(names, [EXPERT], 1, "here")[0].sources) == len(numbers)
        return
    gap = min(set(range(max(numbers))) - numbers)
    with pytest.raises(CheckpointError, match=f"expert {gap} is missing"):
        claim(names, [EXPERT], 1, "here")


@pytest.mark.parametrize("name", ["layers.00.experts.0.w", "layers.0.experts.00.w"])
def test_one_expert_under_two_names(name):
    with pytest.raises(CheckpointError, match="the same expert"):
        claim(["layers.0.experts.0.w", name], [EXPERT], 1, "here")


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "1e3", "٣" * 12])
def test_absurd_numbers(number):
    with pytest.raises(CheckpointError, match="unknown tensor"):
        claim([f"layers.{number}.w"], [copy("layers.{layer}.w")], 3, "here")


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="expert 1 has"):
        Stack().shapes([(2, 3), (3, 2)])
    with pytest.raises(ValueError, match="whole heads"):
        SplitHeads(3, 2).shapes([(11, 4)])
    assert SplitHeads(3, 2).shapes([(10, 4)]) == ((2, 4, 3), (2, 2, 4))
