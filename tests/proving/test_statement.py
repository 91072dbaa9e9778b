"""Theorems as they stand in files: what precedes them, how they end, what they are called."""

import pytest

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.statement import read_theorem, without_proof

HEADER = "import Mathlib\nimport Aesop\n\nset_option maxHeartbeats 0\n\nopen Nat Real\n\n"


@pytest.mark.parametrize(
    "end", [":= by", ":= by\n", ":=", ":= sorry", ":= by sorry", ":= by\n  sorry\n"]
)
def test_an_open_end_is_by(end: str):
    theorem = read_theorem(f"theorem t (n : Nat) (h : n = 1 := by rfl) : n = 1 {end}")
    assert theorem.statement == "theorem t (n : Nat) (h : n = 1 := by rfl) : n = 1 := by"
    assert theorem.name == "t"


def test_a_long_comment_before_a_proof_costs_nothing():
    text = "theorem t : 1 = 1 := /- " + "x " * 50_000 + "-/ rfl"
    with pytest.raises(LeanError, match="not open"):
        read_theorem(text)
    assert read_theorem(text.removesuffix("rfl")).name == "t"


def test_what_precedes_is_kept_as_written():
    text = HEADER + "/-- Doc. -/\ntheorem t : 1 = 1 := by\n"
    theorem = read_theorem("/-- Doc. -/\ntheorem t : 1 = 1 := by\n", HEADER)
    assert theorem.before + theorem.statement + "\n" == text
    assert theorem.modules == ["Mathlib", "Aesop"]
    assert theorem.scopes == "set_option maxHeartbeats 0\nopen Nat Real\n"


def test_scopes_are_repeated_and_definitions_are_not():
    text = (
        'namespace A\nsection\nvariable (n : Nat)\nprivate def f := n\nlocal notation "x" => n\n'
        "attribute [local simp] f\nend\nopen B in\ndef g := 1\nmutual\ndef h := 1\nend\n"
        "theorem t : g = 1 := sorry"
    )
    theorem = read_theorem(text)
    assert theorem.full_name == "A.t"
    scopes = theorem.scopes
    assert "namespace A" in scopes
    assert "local notation" in scopes
    assert "def" not in scopes
    assert scopes.count("end") == 1
    assert "private" not in theorem.module
    assert "def f := n" in theorem.module


@pytest.mark.parametrize(
    ("name", "renamed"), [("t", "u"), ("Nat.t", "Nat.u"), ("_root_.a.t", "_root_.a.u")]
)
def test_renaming_keeps_namespaces(name: str, renamed: str):
    theorem = read_theorem(f"/-- theorem {name} -/\ntheorem {name} : 1 = 1 := by")
    assert theorem.renamed("u") == f"/-- theorem {name} -/\ntheorem {renamed} : 1 = 1 := by"


def test_examples_get_a_name_and_private_ones_are_public():
    assert read_theorem("example : 1 = 1 := by sorry").statement.startswith("theorem example_0 :")
    assert read_theorem("private theorem t : 1 = 1 := by").statement.startswith("theorem t")


@pytest.mark.parametrize(
    "text", ["", "def a := 1", "theorem t : 1 = 1 := rfl", "theorem t : 1 = 1", "/- theorem"]
)
def test_what_is_no_open_theorem_is_refused(text: str):
    with pytest.raises(LeanError):
        read_theorem(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("theorem a : 1 = 1 := by\n  rfl\n", "theorem a : 1 = 1 := by"),
        ("theorem a : 1 = 1 := rfl", "theorem a : 1 = 1 := by"),
        ("theorem a (n : Nat := 3) : n = n :=\n  by rfl", "theorem a (n : Nat := 3) : n = n := by"),
        ("theorem a : let x := 1; x = 1 := by\n  rfl", "theorem a : let x := 1; x = 1 := by"),
        ("theorem a : 1 = 1 := by\n  have h := 2\n  rfl", "theorem a : 1 = 1 := by"),
        ("def f := 1\nlemma a : f = 1 := by rfl -- := by\n\n", "def f := 1\nlemma a : f = 1 := by"),
        ("lemma a : P := by x\nlemma b : Q := by x", "lemma a : P := by x\nlemma b : Q := by"),
    ],
)  # fmt: skip
def test_a_proof_is_left_out(text, left):
    assert without_proof(text) == left


@pytest.mark.parametrize("text", ["def f := 1", "", "theorem a : 1 = 1"])
def test_what_has_no_proof_to_leave_out_is_refused(text):
    with pytest.raises(LeanError, match="Expected"):
        without_proof(text)
