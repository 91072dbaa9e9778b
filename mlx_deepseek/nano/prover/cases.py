"""What exists and what is one of several: taken apart, case by case, and put together anew."""

from dataclasses import dataclass, field
from typing import Any

from mlx_deepseek.nano.prover.exercise import Draw, Template
from mlx_deepseek.nano.prover.recursion import Drawn

Formula = Any  # "p x", or ("∧" | "∨", Formula, Formula), or ("∃", name, Formula)


def show(formula: Formula, tight: bool = False) -> str:
    """As Lean writes it."""
    if isinstance(formula, str):
        return formula
    if formula[0] == "∃":
        text = f"∃ {formula[1]}, {show(formula[2])}"
        return f"({text})" if tight else text
    left, right = show(formula[1], True), show(formula[2], True)
    if formula[0] == "∧" and formula[2][0] == "∧":  # it leans to the right
        right = show(formula[2])
    text = f"{left} {formula[0]} {right}"
    return f"({text})" if tight else text


@dataclass
class Opening:
    """Takes a hypothesis apart; `close` proves the goal in each case from the facts there."""

    close: Any
    count: int = 0
    lines: list[str] = field(default_factory=list)

    def fresh(self) -> str:
        """A name for a new fact."""
        self.count += 1
        return f"e{self.count}"

    def open(self, waiting: list[tuple[str, Formula]], facts: dict[str, str], pad: str) -> None:
        """Take what waits apart, first come first."""
        if not waiting:
            self.lines += [pad + line for line in self.close(facts)]
            return
        (name, formula), rest = waiting[0], waiting[1:]
        if isinstance(formula, str):
            self.open(rest, {**facts, formula: name}, pad)
        elif formula[0] == "∨":
            self.lines.append(f"{pad}cases {name} with")
            for side, part in zip(("inl", "inr"), formula[1:], strict=True):
                new = self.fresh()
                self.lines.append(f"{pad}| {side} {new} =>")
                self.open([(new, part), *rest], facts, pad + "  ")
        else:
            new = self.fresh()
            if formula[0] == "∃":
                self.lines.append(f"{pad}obtain ⟨{formula[1]}, {new}⟩ := {name}")
                self.open([(new, formula[2]), *rest], facts, pad)
            else:
                other = self.fresh()
                self.lines.append(f"{pad}obtain ⟨{new}, {other}⟩ := {name}")
                self.open([(new, formula[1]), (other, formula[2]), *rest], facts, pad)


def branches(formula: Formula) -> list[list[str]]:
    """The atoms that hold in each case."""
    if isinstance(formula, str):
        return [[formula]]
    if formula[0] == "∃":
        return branches(formula[2])
    left, right = branches(formula[1]), branches(formula[2])
    return left + right if formula[0] == "∨" else [a + b for a in left for b in right]


def goal_of(facts: list[str], variables: list[str]) -> Formula:
    """That some facts hold, of something."""
    goal: Formula = facts[-1]
    for fact in facts[-2::-1]:
        goal = ("∧", fact, goal)
    used = {word for fact in facts for word in fact.split()[1:]}
    for name in reversed(variables):
        if name in used:
            goal = ("∃", name, goal)
    return goal


def regroup(d: Draw) -> Drawn:
    """A hypothesis with cases; the goal has them in another order, with other parts."""
    predicates, variables = d.names("predicate", d.number(3, 4)), d.names("point", d.number(1, 2))
    scope = variables

    def atom() -> str:
        return f"{d.one(*predicates)} {d.one(*scope)}"

    def body(depth: int, ors: int) -> Formula:
        if depth == 0 or (ors == 0 and d.one(True, False)):
            return atom()
        if ors:
            part = d.one(
                ("∨", body(depth - 1, 0), body(depth - 1, ors - 1)),
                ("∧", atom(), ("∨", body(depth - 1, 0), body(depth - 1, ors - 1))),
            )
            return part
        return ("∧", atom(), body(depth - 1, 0))

    formula = body(d.number(2, 3), d.number(1, 2))
    used = {fact.split()[1] for facts in branches(formula) for fact in facts}
    variables = [name for name in variables if name in used]
    for name in reversed(variables):
        formula = ("∃", name, formula)
    goals = []
    for facts in branches(formula):
        chosen = d.random.sample(sorted(set(facts)), min(len(set(facts)), d.number(1, 3)))
        goals.append(goal_of(chosen, variables))
    goals = d.shuffled([g for i, g in enumerate(goals) if g not in goals[:i]])
    goal = goals[-1]
    for other in goals[-2::-1]:
        goal = ("∨", other, goal)

    def close(facts: dict[str, str]) -> list[str]:
        for number, wanted in enumerate(goals):
            needed = branches(wanted)[0]
            if all(fact in facts for fact in needed):
                named = [v for v in variables if any(v in fact.split()[1:] for fact in needed)]
                parts = [*named, *(facts[fact] for fact in needed)]
                sides = ["right"] * number + (["left"] if number < len(goals) - 1 else [])
                return [*sides, f"exact ⟨{', '.join(parts)}⟩"]
        raise AssertionError(goals)

    (h,) = d.hypotheses(1)
    opening = Opening(close)
    opening.open([(h, formula)], {}, "  ")
    kind = d.one("Nat", "α", "β")
    binder = "" if kind == "Nat" else f"{{{kind} : Type}} "
    heads = sorted({fact.split()[0] for facts in branches(formula) for fact in facts})
    signature = (
        f"{binder}({' '.join(heads)} : {kind} → Prop) ({h} : {show(formula)}) : {show(goal)}"
    )
    return "", signature, opening.lines


def elimination(d: Draw) -> Drawn:
    """One of several holds of something, and all but one are excluded there."""
    count = d.number(2, 4)
    p, *others = d.names("predicate", count + 1)
    x, (h, k) = d.name("point"), d.hypotheses(2)
    left = d.number(0, count - 1)
    excluded = [q for i, q in enumerate(others) if i != left]
    cases = " ∨ ".join(f"{q} {x}" for q in others)
    known = " ∧ ".join(f"¬{q} {x}" for q in excluded)
    kind = d.one("Nat", "α", "β")
    binder = "" if kind == "Nat" else f"{{{kind} : Type}} "
    signature = (
        f"{binder}({' '.join([p, *others])} : {kind} → Prop) ({h} : ∀ {x}, {p} {x} → {cases}) "
        f"({k} : ∃ {x}, {p} {x} ∧ {known}) : ∃ {x}, {others[left]} {x}"
    )
    facts = [f"e{i}" for i in range(1, len(excluded) + 2)]
    lines = [f"  obtain ⟨{x}, {', '.join(facts)}⟩ := {k}"]
    patterns = " | ".join(["o"] * count)
    lines.append(f"  rcases {h} {x} e1 with {patterns}")
    against = dict(zip(excluded, facts[1:], strict=True))
    for i, q in enumerate(others):
        done = f"exact ⟨{x}, o⟩" if i == left else f"exact absurd o {against[q]}"
        lines.append(f"  · {done}")
    return "", signature, lines


def steps(d: Draw) -> Drawn:
    """Something exists, and facts about all lead from it to the goal by two ways."""
    p, q, r, s = d.names("predicate", 4)
    x, (h1, h2, h3) = d.name("point"), d.hypotheses(3)
    y = d.one(x, d.name("point"))
    kind = d.one("Nat", "α", "β")
    binder = "" if kind == "Nat" else f"{{{kind} : Type}} "
    more = d.one(True, False)
    first = f"{p} {x} ∨ {q} {x}"
    given = d.shuffled(
        [f"({h1} : ∃ {x}, {first})", f"({h2} : ∀ {x}, {p} {x} → {r} {x})",
         f"({h3} : ∀ {x}, {q} {x} → {s} {x})"]
    )  # fmt: skip
    ends = [f"{r} {y}", f"{s} {y}"]
    ways = [(f"{h2} {x} o", 0), (f"{h3} {x} o", 1)]
    if more:
        ends = ends[::-1]
    signature = (
        f"{binder}({' '.join([p, q, r, s])} : {kind} → Prop) {' '.join(given)} : "
        f"∃ {y}, {' ∨ '.join(ends)}"
    )
    lines = [f"  obtain ⟨{x}, e1⟩ := {h1}", "  cases e1 with"]
    for side, (fact, at) in zip(("inl", "inr"), ways, strict=True):
        way = "inl" if (at == 0) != more else "inr"
        lines += [f"  | {side} o =>", f"    exact ⟨{x}, Or.{way} ({fact})⟩"]
    return "", signature, lines


TEMPLATES: list[Template] = [regroup, regroup, regroup, elimination, steps]
