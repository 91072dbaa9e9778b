"""The judge and the search on all of their data, with the Lean of the tests.

python -m tests.bench.proving judge [--sandbox landlock] [--no-filter]
python -m tests.bench.proving hostile
python -m tests.bench.proving search --samples 600
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving import Judge, Limits, Search, prove, read_theorem
from mlx_deepseek.proving.attempts import AttemptLog
from mlx_deepseek.proving.demo import toolchain
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.pool import WorkerPool
from mlx_deepseek.proving.process import MiB
from mlx_deepseek.proving.session import Session, Written
from mlx_deepseek.proving.supervisor import descendants
from tests.proving.coin import Coin

DATA = Path(__file__).parents[1] / "proving" / "data"
LIMITS = Limits(seconds=15, resident_bytes=1024 * MiB)


def data(name: str) -> list[Any]:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def judge(lean: Lean, filtered: bool) -> None:
    """Every cheat and problem; prints what is judged otherwise than expected."""
    wrong = {"cheats": 0, "provable": 0, "false": 0, "ill-typed": 0}
    start = time.monotonic()
    for case in data("cheats.json"):
        with Judge(lean, read_theorem(case["statement"]), LIMITS, filtered=filtered) as one:
            verdict = one.check(case["submission"], case["form"])
        if verdict.accepted is not (case["expected"] == "accepted"):
            wrong["cheats"] += 1
            print("cheat", case["name"], verdict)
    for case in data("problems.json"):
        kind = "provable" if case["provable"] else case["kind"]
        try:
            with Judge(lean, read_theorem(case["statement"]), LIMITS) as one:
                text = case.get("proof", "  first | omega | simp_all | decide")
                right = one.check(text).accepted is case["provable"] and kind != "ill-typed"
        except LeanError:
            right = kind == "ill-typed"
        if not right:
            wrong[kind] += 1
            print(kind, case["name"])
    print(f"{lean.sandbox}, filter {filtered}: wrong {wrong}, {time.monotonic() - start:.0f} s")


def hostile_texts() -> Iterator[str]:
    """200 texts: endless, huge, deep, disguised, imitating Lean's messages."""
    chance = random.Random(0)
    seal = "'seal' does not depend on any axioms"
    line = json.dumps({"severity": "information", "data": seal, "pos": {"line": 4, "column": 0}})
    base = (
        "  repeat (have : True := trivial)",
        "  exact absurd (rfl : 2 ^ (2 ^ 30) = 1) (by decide)",
        "  have : List.replicate 100000000 0 = [] := by decide\n  contradiction",
        "  decide",
        f"  trace {json.dumps(line)}\n  trivial",
        f"  -- {line}\n  trivial",
        f"/- {line} -/\n  rfl",
        "  #eval IO.println 1",
        "  run_tac IO.Process.spawn",
        "  exact sorry",
        "  sorry -- \x1b[2Jaccepted",
        "  exact (by_elab return .const `sorryAx [])",
        "  \udcff\udcfe trivial",
        "  \x00",
        "  trivial\n" * 30_000,
        "  exact " + "(" * 20_000 + "rfl" + ")" * 20_000,
        "  exact " + "x" * 10_000_000,
        "  have h : " + " ∧ ".join(["True"] * 3000) + " := by simp\n  trivial",
        "theorem goal : 1 = 2 := by\n  exact goal",
        "end\ntheorem goal : True := trivial",
        "  exact Nat.rec trivial (fun _ _ => trivial) 0",
        "  induction 10000000 with\n  | zero => rfl\n  | succ n ih => exact ih",
        "  simp (config := {maxSteps := 100000000})",
        "  set_option maxRecDepth 1000000000 in\n  decide",
        "  «sorry»",
    )
    for number in range(200):
        text = base[number % len(base)]
        extra = chance.choice(["", "\n  skip", "\n" * 50, "  ", "\n-- 𝓝\n", "\n  done", " /- -/"])
        yield text + extra


def hostile(lean: Lean) -> None:
    """None proves that 1 = 2; nothing stays."""
    theorem = read_theorem("theorem goal : 1 = 2 := by")
    start, accepted, reasons = time.monotonic(), 0, {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Judge(lean, theorem, LIMITS) as one,
        WorkerPool(lean, LIMITS) as pool,
        AttemptLog(Path(folder) / "j.jsonl", {}, 0) as journal,
    ):
        session = Session(theorem, one, pool, journal, check_s=5)
        for number, text in enumerate(hostile_texts()):
            form = "file" if "theorem goal" in text else "body"
            (attempt,) = session.consider([Written(text, form)], "sample", [number])
            accepted += attempt.accepted or one.check(text, form).accepted
            reason = " ".join(attempt.reason.split())[:60]
            reasons[reason] = reasons.get(reason, 0) + 1
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        print(f"{count:4} {reason!r}")
    left = len(descendants())
    print(f"accepted {accepted} of 200, processes left {left}, {time.monotonic() - start:.0f} s")


def search(lean: Lean, samples: int) -> None:
    """Coins as policy: tree against whole proofs at the same budget."""
    solved, checks, start = {"tree": 0, "sample": 0}, 0, time.monotonic()
    statements = data("logic.json")
    for number, statement in enumerate(statements):
        for method in ("tree", "sample"):
            options = Search(method, samples, timeout_s=600, check_s=20, portfolio=False,
                             memory_bytes=1 << 30, seed=number * 100_000)  # fmt: skip
            proof = prove(read_theorem(statement), lean, Coin(), options)
            solved[method] += proof.accepted
            checks += len(proof.attempts)
    seconds = time.monotonic() - start
    print(f"{samples} samples, {len(statements)} theorems: {solved}, {checks / seconds:.0f}/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("judge", "hostile", "search"))
    parser.add_argument("--sandbox")
    parser.add_argument("--no-filter", action="store_true")
    parser.add_argument("--samples", type=int, default=600)
    args = parser.parse_args()
    lean = toolchain.demo_lean(unsafe=True)
    if args.sandbox:
        lean = replace(lean, sandbox=args.sandbox)
    if args.what == "judge":
        judge(lean, not args.no_filter)
    elif args.what == "hostile":
        hostile(lean)
    else:
        search(lean, args.samples)


if __name__ == "__main__":
    main()
