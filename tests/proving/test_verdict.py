"""The judge with a real Lean: every cheat refused, honest proofs accepted, also without step 1."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.lean import STANDARD_AXIOMS, Lean
from mlx_deepseek.proving.process import Limits, MiB, StopSignal
from mlx_deepseek.proving.sandbox import available
from mlx_deepseek.proving.statement import read_theorem
from mlx_deepseek.proving.verdict import Judge

DATA = Path(__file__).parent / "data"
CHEATS = json.loads((DATA / "cheats.json").read_text(encoding="utf-8"))
PROBLEMS = json.loads((DATA / "problems.json").read_text(encoding="utf-8"))
LIMITS = Limits(seconds=60, resident_bytes=1024 * MiB)
COMMUTES = "theorem goal (a b : Nat) : a + b = b + a := by"
# Refused by the text alone; Lean accepts the proof that its search finds.
TEXT_ONLY = {"search-tactic"}
SLOW = {"endless", "deep"}


@pytest.fixture(scope="module")
def judges(lean: Lean) -> Iterator[dict[str, Judge]]:
    """One judge for each statement of the cheats, with step 1 and without."""
    statements = {case["statement"] for case in CHEATS}
    with ThreadPoolExecutor(2) as threads:
        made = dict(
            zip(
                statements,
                threads.map(lambda s: Judge(lean, read_theorem(s), LIMITS), statements),
                strict=True,
            )
        )
    yield made
    for judge in made.values():
        judge.close()


@pytest.mark.parametrize("case", CHEATS, ids=lambda case: case["name"])
def test_cheats(case: dict, judges: dict[str, Judge]):
    judge = judges[case["statement"]]
    if case["name"] == "endless":
        judge = replace_limits(judge, 5.0)
    verdict = judge.check(case["submission"], case["form"])
    assert verdict.accepted is (case["expected"] == "accepted"), verdict


@pytest.mark.parametrize(
    "case",
    [c for c in CHEATS if c["expected"] == "rejected" and c["name"] not in {"endless", "deep"}][
        ::3
    ],
    ids=lambda case: case["name"],
)
def test_cheats_without_the_filter(case: dict, judges: dict[str, Judge]):
    judge = judges[case["statement"]]
    judge.filtered = False
    try:
        verdict = judge.check(case["submission"], case["form"])
    finally:
        judge.filtered = True
    assert verdict.accepted is (case["name"] in TEXT_ONLY), verdict


def replace_limits(judge: Judge, seconds: float) -> Judge:
    return Judge(judge.lean, judge.theorem, replace(judge.limits, seconds=seconds))


def test_honest_proofs_are_accepted(lean: Lean):
    """One of each family, and those with definitions of their own."""
    provable = [p for p in PROBLEMS if p["provable"]]
    families = {p["family"]: p for p in provable}
    chosen = [*families.values(), *(p for p in provable if "def " in p["statement"])]

    def judged(problem: dict) -> tuple[str, bool, str]:
        with Judge(lean, read_theorem(problem["statement"]), LIMITS) as judge:
            verdict = judge.check(problem["proof"])
            return problem["name"], verdict.accepted, verdict.reason

    with ThreadPoolExecutor(2) as threads:
        for name, accepted, reason in threads.map(judged, chosen):
            assert accepted, f"{name}: {reason}"


@pytest.mark.parametrize("kind", available())
def test_each_sandbox_lets_lean_work(lean: Lean, kind: str):
    confined = replace(lean, sandbox=kind)  # type: ignore[arg-type]
    with Judge(confined, read_theorem(COMMUTES), LIMITS) as judge:
        assert judge.statement_shown == "goal : ∀ (a b : Nat), a + b = b + a"
        verdict = judge.check("  omega")
    assert verdict.accepted, verdict
    assert set(verdict.axioms) <= lean.axioms


def test_only_the_three_standard_axioms_count_elsewhere(lean: Lean):
    official = replace(lean, axioms=STANDARD_AXIOMS)
    with Judge(official, read_theorem(COMMUTES), LIMITS) as judge:
        assert judge.check("  exact Nat.add_comm a b").accepted
        verdict = judge.check("  omega")  # the miniature's rests on axioms
    assert not verdict.accepted
    assert verdict.reason.startswith("It rests on ")


@pytest.mark.parametrize(
    "problem", [p for p in PROBLEMS if not p["provable"]][::4], ids=lambda p: p["name"]
)
def test_what_is_false_or_wrong_is_not_accepted(lean: Lean, problem: dict):
    theorem = read_theorem(problem["statement"])
    if problem["kind"] == "ill-typed":
        with pytest.raises(LeanError, match="does not accept the statement"):
            Judge(lean, theorem, LIMITS)
        return
    with Judge(lean, theorem, LIMITS) as judge:
        assert not judge.check("  first | omega | simp_all | decide").accepted


def test_a_misspelt_type_is_no_variable(lean: Lean):
    with pytest.raises(LeanError, match="Naturel"):
        Judge(lean, read_theorem("theorem t (x : Naturel) : x = x := by"), LIMITS)


def test_a_missing_library_names_the_remedy(lean: Lean, tmp_path: Path):
    theorem = read_theorem("import Mathlib\ntheorem t : 1 = 1 := by")
    with pytest.raises(LeanError, match="--project"):
        Judge(lean, theorem, LIMITS)
    with pytest.raises(LeanError, match="lake exe cache get"):
        Judge(replace(lean, project=tmp_path), theorem, LIMITS)


def test_namespaces_sections_and_whole_answers(lean: Lean):
    before = (
        "namespace Deep\nsection\nuniverse u\nvariable {α : Type u} (xs : List α)\n"
        "private def twice (n : Nat) : Nat := n + n\n\n"
    )
    theorem = read_theorem(before + "theorem even (n : Nat) : twice n = 2 * n := by sorry")
    answer = before + (
        "theorem helper (n : Nat) : n + n = 2 * n := by omega\n\n"
        "theorem even (n : Nat) : twice n = 2 * n := by\n  exact helper n\n"
    )
    with Judge(lean, theorem, LIMITS) as judge:
        assert judge.check("  unfold twice\n  omega").accepted
        assert judge.check(answer).accepted
        renamed = answer.replace("theorem even", "theorem odd")
        assert judge.check(renamed).step == 4


def test_lines_of_errors_count_from_the_proof(lean: Lean):
    with Judge(lean, read_theorem(COMMUTES), LIMITS) as judge:
        verdict = judge.check("  skip\n  exact foo")
    assert (verdict.step, verdict.messages[0].line) == (3, 2)


def test_stop_ends_a_verdict(lean: Lean):
    stop = StopSignal()
    with Judge(replace(lean, stop=stop), read_theorem("theorem t : 1 = 2 := by"), LIMITS) as judge:
        threading.Timer(1.0, stop.stop).start()
        verdict = judge.check("  repeat (have : True := trivial)")
    assert not verdict.accepted
    assert "was stopped" in verdict.reason  # and did not take too long
