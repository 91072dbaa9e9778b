"""The verdict's first step, without Lean: cheats are refused, honest words are not."""

import json
from pathlib import Path

import pytest

from mlx_deepseek.proving.text_filter import refusal

DATA = Path(__file__).parent / "data"
CHEATS = json.loads((DATA / "cheats.json").read_text(encoding="utf-8"))
PROBLEMS = json.loads((DATA / "problems.json").read_text(encoding="utf-8"))
# What only Lean can judge: other statements, missing theorems, wrong or endless proofs.
LEFT_TO_LEAN = {
    "other-statement",
    "weaker-statement",
    "extra-hypothesis",
    "extra-variable",
    "no-theorem",
    "theorem-in-comment",
    "in-namespace",
    "definition-changed",
    "circular",
    "endless",
    "deep",
    "empty",
}


@pytest.mark.parametrize("case", CHEATS, ids=lambda case: case["name"])
def test_cheats_are_refused_and_honest_proofs_are_not(case: dict):
    reason = refusal(case["submission"], body=case["form"] == "body")
    honest = case["expected"] == "accepted" or case["name"] in LEFT_TO_LEAN
    assert bool(reason) is not honest, reason


def test_no_false_alarm_on_honest_proofs():
    for problem in PROBLEMS:
        if problem["provable"]:
            assert refusal(problem["proof"], body=True) == "", problem["name"]
            whole = f"{problem['statement']}\n{problem['proof']}"
            assert refusal(whole, body=False) == "", problem["name"]


@pytest.mark.parametrize(
    "text",
    [
        "  exact (λsorry => x)",
        "  exact xᶜsorry",
        "  exact foo.«sorryAx» _",
        "  exact (x).sorry",
        "  trivial theorem other : True := trivial",
        "  trivial #eval 1",
        "  open Nat\n  rfl\nopen Nat",
        "  decide set_option debug.skipKernelTC true in rfl",
        "  exact _root_.Lean.ofReduceBool",
        "  run_tac do pure ()",
        "  exact by_elab do pure ()",
        "  simp [System.FilePath]",
        "  x\u202ey",
        "  x\x1b[2J",
        "  have : nаtive_decide := 1\n  nаtive_decide",
    ],
)
def test_other_ways_to_the_same_are_refused(text: str):
    assert refusal(text, body=True)


@pytest.mark.parametrize(
    "text",
    [
        "  open Nat in\n  rfl",
        "  have prefix := List.prefix_rfl\n  exact h.eval",
        "  simp only [Finset.sum_range_succ, sub_eq_add_neg]\n  <;> norm_num -- sorry",
        "  nlinarith [sq_nonneg (a - b), mul_self_nonneg (x * 𝓝)]",
        "  exact ⟨π, by simp [Real.pi_pos.ne']⟩",
    ],
)
def test_ordinary_tactics_pass(text: str):
    assert refusal(text, body=True) == ""


def test_a_sketch_may_say_sorry_and_nothing_else():
    assert refusal("  have h : a := by sorry", body=True, sketch=True) == ""
    assert refusal("  have h : a := by admit", body=True, sketch=True)
    assert refusal("  exact sorryAx _", body=True, sketch=True)
