"""Families of exercises: Lean accepts the proofs, tactics find none, what is held out stays so."""

from itertools import islice
from random import Random

import pytest

from mlx_deepseek.nano.prover.exercise import Exercise, exercise
from mlx_deepseek.nano.prover.families import FAMILIES, held_out, training
from mlx_deepseek.nano.prover.states import verified
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.lean_messages import read_json_lines
from mlx_deepseek.proving.portfolio import CORE
from mlx_deepseek.proving.process import Limits
from mlx_deepseek.proving.statement import read_theorem

TEMPLATES = {
    f"{family}-{template.__name__}": (family, template)
    for family, templates in FAMILIES.items()
    for template in templates
}


def drawn(count: int) -> list[Exercise]:
    """So many of every template."""
    random = Random(11)
    return [
        exercise(family, template, random)
        for family, template in TEMPLATES.values()
        for _ in range(count)
    ]


def accepted(lean: Lean, proofs: list[tuple[Exercise, str]], folder) -> list[bool]:
    """Whether Lean accepts each, all in one file."""
    text, starts = "", []
    for number, (one, proof) in enumerate(proofs):
        starts.append(text.count("\n") + 1)
        text += f"namespace N{number}\n{one.context}{one.statement}\n{proof}\nend N{number}\n"
    (folder / "all.lean").write_text(text, encoding="utf-8")
    limits = Limits(seconds=120, resident_bytes=2 << 30)
    ended = lean.run(["--json", "all.lean"], cwd=folder, limits=limits, extra=(folder,))
    messages, stray = read_json_lines(ended.stdout)
    assert not stray
    assert not ended.stopped
    wrong = [m.line for m in messages if m.severity == "error" or m.is_sorry]
    ends = [*starts[1:], text.count("\n") + 1]
    return [
        not any(start <= line < end for line in wrong)
        for start, end in zip(starts, ends, strict=True)
    ]


def test_lean_accepts_every_template(lean: Lean, tmp_path):
    found = drawn(2)
    right = accepted(lean, [(one, one.proof) for one in found], tmp_path)
    assert [one for one, good in zip(found, right, strict=True) if not good] == []


def test_tactics_alone_do_not(lean: Lean, tmp_path):
    tried = [(one, f"  first | {' | '.join(f'({tactic})' for tactic in CORE)}") for one in drawn(1)]
    assert not any(accepted(lean, tried, tmp_path))


@pytest.mark.parametrize("family", FAMILIES)
def test_no_statement_is_both_learned_and_held_out(family):
    learned = {one.shape for one in islice(training(family, Random(3)), 400)}
    kept = held_out(family, 20)
    assert len({one.shape for one in kept}) == 20
    assert not learned & {one.shape for one in kept}
    assert [one.held_out for one in kept] == [True] * 20
    assert held_out(family, 20) == kept


def test_names_alone_make_no_other_statement():
    def stated(function: str, base: int, theorem: str) -> Exercise:
        context = f"def {function} : Nat → Nat\n  | 0 => {base}\n\n"
        return Exercise("chain", context, f"theorem {theorem} : {function} 0 = 3 := by", "")

    one, other, third = stated("f", 3, "t"), stated("go", 3, "u"), stated("go", 4, "u")
    assert one.shape == other.shape != third.shape


def test_every_statement_is_an_open_theorem():
    for one in drawn(1):
        theorem = read_theorem(one.context + one.statement)
        assert theorem.statement == one.statement
        assert theorem.before == one.context


def test_goals_come_from_lean_and_wrong_proofs_are_left_out(lean: Lean):
    good = Exercise("chain", "", "theorem t (p q : Prop) (h : p ∧ q) : q ∧ p := by",
                    "  constructor\n  · exact h.2\n  · exact h.1")  # fmt: skip
    bad = Exercise("chain", "", good.statement, "  constructor\n  · exact h.1\n  · exact h.1")
    (one,) = verified([bad, good], lean)
    assert one.exercise == good
    assert one.steps[0][0] == "  constructor\n"
    assert one.steps[0][1].count("⊢") == 2
