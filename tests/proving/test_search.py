"""Searching for proofs with a real Lean and a policy of coins; and what needs no Lean."""

import contextlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.attempts import AttemptLog, pass_at
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.lean_text import sorries
from mlx_deepseek.proving.pool import WorkerPool
from mlx_deepseek.proving.process import Limits, MiB
from mlx_deepseek.proving.prove import Search, prove
from mlx_deepseek.proving.session import ProofRequest, Session, Written
from mlx_deepseek.proving.sketch import as_theorem, fill
from mlx_deepseek.proving.statement import Theorem, read_theorem
from mlx_deepseek.proving.tree import Node, grow, select
from mlx_deepseek.proving.worker import WorkerStoppedError
from tests.proving.coin import Coin
from tests.waiting import wait_until

LOGIC = json.loads((Path(__file__).parent / "data" / "logic.json").read_text(encoding="utf-8"))
LIMITS = Limits(seconds=30, resident_bytes=1024 * MiB)
QUICK = Search(portfolio=False, timeout_s=300, check_s=20, memory_bytes=1024 * MiB, seed=1)


class Scripted:
    """A policy that answers from a list."""

    name, batch = "scripted", 2

    def __init__(self, *texts: str, completes: bool = True):
        self.completes = completes
        self.texts = iter(texts)
        self.asked: list[ProofRequest] = []

    def write(self, requests: Sequence[ProofRequest]) -> list[Written]:
        self.asked += requests
        return [Written(request.body + next(self.texts)) for request in requests]


def searched(**changes: object) -> Search:
    return Search(**(vars(QUICK) | changes))  # type: ignore[arg-type]


AND = read_theorem("theorem t (p q : Prop) (hp : p) (hq : q) : p ∧ q := by")


def test_tactics_come_first_and_are_named(lean: Lean):
    proof = prove(
        read_theorem("theorem t (a : Nat) : a + 0 = a := by"),
        lean,
        None,
        searched(portfolio=True, method="portfolio"),
    )
    assert (proof.accepted, proof.method, proof.text) == (True, "portfolio", "  rfl")
    assert proof.source == "theorem t (a : Nat) : a + 0 = a := by\n  rfl\n"


def test_sampling_counts_equal_texts_and_checks_them_once(lean: Lean):
    policy = Scripted("  foo", "  foo", "  sorry", "  exact ⟨hp, hq⟩", "  never", "  asked")
    proof = prove(AND, lean, policy, searched(attempts=6))
    assert [a.accepted for a in proof.attempts] == [False, False, False, True]
    assert proof.attempts[0].seconds == proof.attempts[1].seconds
    assert proof.attempts[2].reason == "`sorry` is not allowed in a proof."
    assert [request.seed for request in policy.asked] == [1, 2, 3, 4]


def test_repairs_see_the_failed_text_and_its_error(lean: Lean):
    policy = Scripted("  exact hq", "  exact foo", "  exact ⟨hp, hq⟩")
    proof = prove(AND, lean, policy, searched(attempts=2, repair=3))
    assert [a.method for a in proof.attempts] == ["sample", "sample", "repair"]
    failed = policy.asked[2].failed
    assert failed is not None
    assert failed[0] == "  exact foo"
    assert "foo" in failed[1]
    assert proof.accepted


def test_every_attempt_is_made_for_pass_at_k(lean: Lean):
    policy = Scripted("  exact ⟨hp, hq⟩", "  foo", "  exact And.intro hp hq", "  bar")
    proof = prove(AND, lean, policy, searched(attempts=4, every=True))
    assert [a.accepted for a in proof.attempts] == [True, False, True, False]


def test_a_tree_goes_from_goal_to_goal(lean: Lean):
    policy = Scripted(
        "  constructor\n  foo",
        "  constructor\n  · exact hp\n  oops",
        "  exact hp\n  exact hq",
        "  exact hp\n  exact hq",
    )
    proof = prove(AND, lean, policy, searched(method="tree", attempts=4))
    assert proof.accepted
    assert policy.asked[0].goal == ""
    below = [request for request in policy.asked[2:] if request.goal]
    assert below
    assert below[0].body.startswith("  constructor\n")
    assert below[0].goal.startswith("case ")


def test_a_tree_solves_what_sampling_does_not(lean: Lean):
    solved = {"tree": 0, "sample": 0}
    for number in (2, 4):
        theorem = read_theorem(LOGIC[number])
        for method in ("tree", "sample"):
            proof = prove(theorem, lean, Coin(), searched(method=method, attempts=150))
            solved[method] += proof.accepted
    assert solved["tree"] > solved["sample"]


def test_a_sketch_is_filled_in_place(lean: Lean):
    sketch = "  have h1 : q ∧ p := by\n    sorry\n  have h2 : p := by sorry\n  exact ⟨h2, h1.1⟩"
    theorem = read_theorem("theorem t (p q r : Prop) (hp : p) (hq : r → q) (hr : r) : p ∧ q := by")
    filler = Scripted("  exact foo", "  exact ⟨hq hr, hp⟩")
    proof = prove(
        theorem, lean, Scripted(sketch), searched(method="sketch", attempts=1), filler=filler
    )
    assert proof.accepted, proof.attempts
    assert sorries(proof.text) == []
    assert "h2 : p := by" in proof.text


def test_a_method_that_the_model_cannot_follow_is_refused(lean: Lean):
    with pytest.raises(LeanError, match="open proof"):
        prove(AND, lean, Scripted(completes=False), searched(method="tree"))
    with pytest.raises(LeanError, match="needs a model"):
        prove(AND, lean, None, searched())
    with pytest.raises(LeanError, match="Expected one of"):
        searched(method="luck")


RUN = """
import os, sys, time
sys.path.insert(0, {here!r})
from tests.proving.coin import Coin
from pathlib import Path
from tests.proving.test_search import searched
from dataclasses import replace
from mlx_deepseek.proving.lean import STANDARD_AXIOMS, find_lean
from mlx_deepseek.proving.prove import prove
from mlx_deepseek.proving.statement import read_theorem
lean = find_lean({lean!r}, unsafe=True)
lean = replace(lean, readable=tuple(map(Path, {readable!r})))
prove(read_theorem({text!r}), lean, Coin(4), searched(method={method!r}, attempts=40,
      journal=Path({journal!r}), seed=None))
"""


STUCK = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
sys.path.insert(0, {here!r})
from dataclasses import replace
from pathlib import Path
from mlx_deepseek.proving import find_lean, prove
from tests.proving.test_search import AND, Scripted, searched
lean = find_lean({lean!r}, unsafe=True)
lean = replace(lean, readable=tuple(map(Path, {readable!r})))
class Told(Scripted):
    def write(self, requests):
        print("written", flush=True)
        return super().write(requests)
prove(AND, lean, Told(*["  repeat (have : True := trivial)"] * 2), searched(check_s=600, workers=2))
"""


def running(lean: Lean) -> list[str]:
    """Processes of this toolchain."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            if str(lean.executable).encode() in command and b"import sys" not in command:
                found.append(entry.name)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_runs_on_after_a_signal(lean: Lean, number: int):
    code = STUCK.format(
        here=str(Path(__file__).parents[2]),
        lean=str(lean.executable),
        readable=list(map(str, lean.readable)),
    )
    before = set(running(lean))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"  # Lean has what it never finishes
    wait_until(lambda: bool(set(running(lean)) - before))
    assert process.poll() is None
    process.send_signal(number)
    process.communicate()
    wait_until(lambda: not set(running(lean)) - before)


def journal_lines(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.mark.parametrize("method", ["sample", "tree"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(lean: Lean, tmp_path: Path, method: str):
    text, journal = LOGIC[0], tmp_path / "t.jsonl"
    code = RUN.format(
        here=str(Path(__file__).parents[2]), lean=str(lean.executable), text=text, method=method,
        readable=list(map(str, lean.readable)), journal=str(journal),
    )  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: journal_lines(journal) > 6 or process.poll() is not None)
    process.kill()
    process.wait()
    before = journal.read_bytes()
    journal.write_bytes(before + b'{"number": 99, "torn')
    search = searched(method=method, attempts=40, journal=journal, seed=None)
    theorem = read_theorem(text)
    resumed = prove(theorem, lean, Coin(4), search)
    assert journal.read_bytes().startswith(before)
    seed = json.loads(before.splitlines()[0])["seed"]
    whole = prove(theorem, lean, Coin(4), searched(method=method, attempts=40, seed=seed))
    texts = [(a.text, a.accepted) for a in whole.attempts]
    assert [(a.text, a.accepted) for a in resumed.attempts] == texts
    again = Coin(4)
    assert untimed(prove(theorem, lean, again, search)) == untimed(resumed)
    assert again.asked == []


def untimed(proof):
    """Its attempts but for Lean's time, as what was accepted before is judged again."""
    return [replace(attempt, seconds=0.0) for attempt in proof.attempts]


def test_a_journal_of_another_run_is_refused(tmp_path: Path):
    path = tmp_path / "j.jsonl"
    AttemptLog(path, {"statement": "a"}, 1).close()
    with pytest.raises(LeanError, match="another statement"):
        AttemptLog(path, {"statement": "b"}, 1)
    path.write_text("hello\n")
    with pytest.raises(LeanError, match="no journal"):
        AttemptLog(path, {"statement": "a"}, 1)


def test_a_pool_reuses_by_imports_and_stays_bounded(lean: Lean):
    with WorkerPool(lean, LIMITS, 1) as pool:
        with pool.worker("") as first:
            first.elaborate("theorem t : 1 = 1 := rfl", 20)
        with pool.worker("") as again:
            assert again is first
        with pool.worker("import Init\n") as other:
            assert other is not first
        with pytest.raises(WorkerStoppedError), pool.worker("") as worker:
            worker.elaborate("theorem t : 1 = 2 := by\n  repeat (have : True := trivial)", 1)
        with pool.worker("") as fresh:
            assert fresh is not worker
            assert fresh.elaborate("theorem t : 1 = 1 := rfl", 20) == []


def test_memory_of_a_worker_is_limited(lean: Lean):
    limits = Limits(seconds=30, resident_bytes=60 * MiB)  # less than Lean takes to start
    with WorkerPool(lean, limits, 1) as pool:
        session = Session(AND, None, pool, AttemptLog(None, {}, 0))  # type: ignore[arg-type]
        assert "memory" in session.check("  exact ⟨hp, hq⟩").reason


@pytest.mark.parametrize(
    ("attempts", "correct", "k", "expected"),
    [(10, 0, 5, 0.0), (10, 10, 1, 1.0), (4, 1, 1, 0.25), (4, 1, 2, 0.5), (5, 2, 2, 0.7)],
)
def test_pass_at_k(attempts: int, correct: int, k: int, expected: float):
    assert pass_at(k, attempts, correct) == pytest.approx(expected)


def test_virtual_loss_spreads_jobs_and_rewards_draw_them():
    root = Node("r", bodies=[""])
    assert grow(root, [("a\n", "g1"), ("a\nb\n", "g2")])
    assert not grow(root, [("a\n", "g1"), ("a\nc\n", "g1")])
    assert grow(root, [("d\n", "g3")])
    chosen = []
    for _ in range(3):
        node = select(root)
        node.begin()
        chosen.append(node)
    assert len({id(node) for node in chosen}) == 3
    for node in chosen:
        node.end(1.0 if node.goal == "g3" else 0.0)
    assert root.jobs == 0
    draws = random.Random(0)
    visits = {"g3": 0, "other": 0}
    for _ in range(50):
        node = select(root)
        node.begin()
        node.end(float(node.goal == "g3" and draws.random() < 0.8))
        visits["g3" if node.goal == "g3" else "other"] += 1
    assert visits["g3"] > visits["other"]


FILLS = [
    ("  have h : a := by sorry\n  b", "  x\n  y", "  have h : a := by\n    x\n    y\n  b"),
    ("  have h : a := sorry\n  b", "x", "  have h : a := by\n    x\n  b"),
    ("  · sorry\n  b", "x\ny", "  · x\n    y\n  b"),
    ("  sorry", "    x\n      y", "  x\n    y"),
    ("  | z => sorry", "x", "  | z =>\n    x"),
]


@pytest.mark.parametrize(("body", "tactics", "filled"), FILLS)
def test_filling_keeps_indentation(body: str, tactics: str, filled: str):
    assert fill(body, sorries(body)[0], tactics) == filled


def test_a_printed_goal_becomes_a_theorem():
    goal = "case a\nn m : Nat\nh : n =\n    m\nx : Nat := 5\nh✝ : p\n⊢ n + 0 =\n  m\n\ncase b\n⊢ q"
    step = as_theorem(Theorem("t", "theorem t : p := by"), goal.removeprefix("case a\n"))
    assert step.statement == "theorem step (n m : Nat) (h : n = m) (x : Nat) : n + 0 = m := by"
