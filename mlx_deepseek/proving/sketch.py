"""Proofs in steps: a sketch with `sorry`s, each filled in place (arXiv:2504.21801 §2)."""

import re
from dataclasses import replace

from mlx_deepseek.proving.lean_text import sorries
from mlx_deepseek.proving.portfolio import tactics
from mlx_deepseek.proving.session import Checked, Policy, ProofRequest, Session, Written
from mlx_deepseek.proving.statement import Theorem
from mlx_deepseek.proving.whole_proofs import done
from mlx_deepseek.proving.worker import NO_GOALS, LeanWorker

DEEPEST = 2  # a step may be sketched once more
GOAL_S = 20.0
HYPOTHESIS = re.compile(r"^(\S[^:]*?) : (.*)$", re.DOTALL)


Hole = tuple[int, int]  # where a `sorry` begins and ends


def fill(body: str, hole: Hole, tactics: str) -> str:
    """The body with lines of tactics in place of a `sorry`, indented as that place asks."""
    before, after = body[: hole[0]], body[hole[1] :]
    lines = _dedented(tactics)
    line = before.rpartition("\n")[2]
    if line.strip() in ("", "·", "."):  # it stands where a tactic stands
        column = len(line)
        return before + ("\n" + " " * column).join(lines) + after
    opened = before.rstrip()
    if not re.search(r"(\bby|=>)$", opened):
        opened += " by"
    indent = len(line) - len(line.lstrip(" ·")) + 2
    return opened + "".join("\n" + " " * indent + one for one in lines) + after


def _dedented(text: str) -> list[str]:
    lines = [line for line in text.split("\n") if line.strip()]
    common = min((len(line) - len(line.lstrip(" ")) for line in lines), default=0)
    return [line[common:] for line in lines]


def prove_by_sketch(
    session: Session, policy: Policy, filler: Policy, count: int, *, each: int = 4
) -> None:
    """Ask for `count` sketches; fill each one's steps with `each` attempts of the `filler`."""
    for number in range(count):
        if done(session, every=False):
            return
        seed = session.journal.seed + number
        kept = session.recorded(1)
        if kept:  # an earlier run filled this one as far as it could
            text = Written(kept[0].text, kept[0].form, kept[0].tokens)
            session.consider([text], "sketch", [seed])
            continue
        asked = ProofRequest(session.theorem, seed, sketch=True)
        (written,) = policy.write([asked])
        if written.form != "body":
            session.consider([written], "sketch", [seed])
            continue
        filled = _filled(session, policy, filler, written.text, seed, each, depth=1)
        session.consider([replace(written, text=filled)], "sketch", [seed])


def _filled(
    session: Session, policy: Policy, filler: Policy, body: str, seed: int, each: int, depth: int
) -> str:
    """The body with each `sorry` filled that can be, from the first on; unfilled ones stay."""
    if not session.check(body, sketch=True).complete:
        return body
    place = 0
    while place < len(found := sorries(body)) and not session.out_of_time:
        better = _fill_one(session, policy, filler, body, found[place], seed, each, depth)
        if better is None:
            place += 1  # the next ones may still say what the model can do
        else:
            body = better
    return body


def _fill_one(
    session: Session,
    policy: Policy,
    filler: Policy,
    body: str,
    hole: Hole,
    seed: int,
    each: int,
    depth: int,
) -> str | None:
    for tactic in tactics(session.pool.lean):
        if _fits(session, text := fill(body, hole, tactic)):
            return text
    goal = _goal(session, body, hole)
    if not goal:
        return None
    step = as_theorem(session.theorem, goal)
    asked = [_request(session, filler, body, hole, goal, step, seed + i) for i in range(each)]
    for start in range(0, each, filler.batch):
        for written in filler.write(asked[start : start + filler.batch]):
            tactics_only = written.text.removeprefix(asked[0].body)
            if written.form == "body" and _fits(session, text := fill(body, hole, tactics_only)):
                return text
    if depth >= DEEPEST:
        return None
    (again,) = policy.write([ProofRequest(step, seed, sketch=True)])
    if again.form != "body" or not sorries(again.text):
        return None
    text = fill(body, hole, again.text)
    if not session.check(text, sketch=True).complete:
        return None
    inner = _filled(session, policy, filler, text, seed, each, depth + 1)
    return inner if len(sorries(inner)) < len(sorries(body)) else None


def _request(
    session: Session, filler: Policy, body: str, hole: Hole, goal: str, step: Theorem, seed: int
) -> ProofRequest:
    """A model that continues proofs sees all that is before the step; others see it alone."""
    if not filler.completes:
        return ProofRequest(step, seed)
    before = body[: hole[0]].rstrip()
    return ProofRequest(session.theorem, seed, f"{before}\n", goal)


def _fits(session: Session, text: str) -> bool:
    return session.check(text, sketch=True).complete


def _goal(session: Session, body: str, hole: Hole) -> str:
    line = body.count("\n", 0, hole[0]) + 1
    column = hole[0] - (body.rfind("\n", 0, hole[0]) + 1)

    def ask(worker: LeanWorker, _: Checked, before: int) -> str | None:
        return worker.goals(before + line, column, GOAL_S)

    _, goal = session.checked_by(body, sketch=True, then=ask)
    return "" if goal in (None, NO_GOALS) else str(goal)


def as_theorem(theorem: Theorem, goal: str) -> Theorem:
    """A theorem of the first printed goal, for a model to read; its proof is checked in place.

    Printing loses hidden arguments and the values of local definitions.
    """
    first = goal.split("\n\n")[0]
    hypotheses, _, target = first.partition("⊢")
    binders = []
    for entry in re.split(r"\n(?! )", hypotheses.strip()):
        if found := HYPOTHESIS.match(entry):
            names, kind = found[1], re.sub(r"\s*:=.*$", "", found[2], flags=re.DOTALL)
            if "✝" not in names:
                binders.append(f" ({names} : {' '.join(kind.split())})")
    statement = f"theorem step{''.join(binders)} : {' '.join(target.split())} := by"
    return replace(theorem, name="step", statement=statement)
