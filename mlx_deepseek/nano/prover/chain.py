"""Hypotheses that have to be applied one after another, at the right places."""

from itertools import pairwise

from mlx_deepseek.nano.prover.exercise import Draw, Template
from mlx_deepseek.nano.prover.recursion import Drawn

TYPES = (("Nat", ""), ("α", "{α : Type} "), ("β", "{β : Type} "), ("T", "{T : Type} "))


def transitive(d: Draw) -> Drawn:
    """A path through a transitive relation, with edges that lead elsewhere."""
    kind, binder = d.one(*TYPES)
    r, points = d.name("relation"), d.names("point", d.number(4, 6))
    trans = d.one("tr", "trans", "ht", "h0")
    long = d.number(3, len(points) - 1)
    path = list(pairwise(points[: long + 1]))
    others = [(points[long], p) for p in points[long + 1 :]]
    edges = d.shuffled(path + others)
    names = dict(zip(edges, d.hypotheses(len(edges)), strict=True))
    given = " ".join(f"({h} : {r} {u} {v})" for (u, v), h in names.items())
    x, y, z = d.one(("x", "y", "z"), ("i", "j", "k"), ("u", "v", "w"))
    signature = (
        f"{binder}({r} : {kind} → {kind} → Prop) "
        f"({trans} : ∀ {x} {y} {z}, {r} {x} {y} → {r} {y} {z} → {r} {x} {z}) "
        f"({' '.join(sorted(points))} : {kind}) {given} : {r} {points[0]} {points[long]}"
    )
    lines, last = [], names[path[0]]
    for number, edge in enumerate(path[1:], start=1):
        step = f"{trans} _ _ _ {last} {names[edge]}"
        last = f"e{number}"
        done = number == len(path) - 1
        lines.append(f"  exact {step}" if done else f"  have {last} := {step}")
    return "", signature, lines


def estimates(d: Draw) -> Drawn:
    """Bounds on functions, put together at the places where the statement needs them."""
    functions = d.names("function", d.number(2, 3))
    x, a = d.one("x", "n", "i"), d.name("number")
    shifts = [d.number(0, 9) for _ in functions]
    hs = d.hypotheses(len(functions))
    sign = d.one("≤", "≤", "<", "=")
    given = " ".join(
        f"({h} : ∀ {x}, {f} {x} {sign} {x}{f' + {s}' if s else ''})"
        for h, f, s in zip(hs, functions, shifts, strict=True)
    )
    inner, total, facts = a, 0, []
    order = [d.number(0, len(functions) - 1) for _ in range(d.number(2, 3))]
    for number, i in enumerate(order, start=1):
        at = inner if inner == a else f"({inner})"
        facts.append(f"  have e{number} := {hs[i]} {at}")
        inner = f"{functions[i]} {at}"
        total += shifts[i]
    close = "=" if sign == "=" else sign
    claim = f"{inner} {close} {a}" + (f" + {total}" if total else "")
    signature = f"({' '.join(functions)} : Nat → Nat) {given} ({a} : Nat) : {claim}"
    return "", signature, [*facts, "  omega"]


def lifting(d: Draw) -> Drawn:
    """A relation that a function keeps, applied several times and then joined."""
    kind, binder = d.one(*TYPES)
    r, f, (a, b, c) = d.name("relation"), d.name("function"), d.names("point", 3)
    trans, keep, h1, h2 = d.one(("tr", "mono", "h1", "h2"), ("ht", "hf", "h1", "h2"))
    m = d.number(1, 3)
    x, y, z = d.one(("x", "y", "z"), ("i", "j", "k"), ("u", "v", "w"))

    def times(point: str, count: int) -> str:
        for _ in range(count):
            point = f"{f} {point}" if " " not in point else f"{f} ({point})"
        return point if " " not in point else f"({point})"

    first_raised = d.one(True, False)
    raised = (a, b) if first_raised else (b, c)
    low, high = (times(a, m), times(b, m)) if first_raised else (times(b, m), times(c, m))
    plain = f"{r} {high} {c}" if first_raised else f"{r} {a} {low}"
    given = f"({h1} : {r} {raised[0]} {raised[1]}) ({h2} : {plain})"
    goal = f"{r} {low} {c}" if first_raised else f"{r} {a} {high}"
    signature = (
        f"{binder}({r} : {kind} → {kind} → Prop) ({f} : {kind} → {kind}) "
        f"({trans} : ∀ {x} {y} {z}, {r} {x} {y} → {r} {y} {z} → {r} {x} {z}) "
        f"({keep} : ∀ {x} {y}, {r} {x} {y} → {r} ({f} {x}) ({f} {y})) "
        f"({a} {b} {c} : {kind}) {given} : {goal}"
    )
    lines, last = [], h1
    for number in range(1, m + 1):
        lines.append(f"  have e{number} := {keep} _ _ {last}")
        last = f"e{number}"
    parts = (last, h2) if first_raised else (h2, last)
    return "", signature, [*lines, f"  exact {trans} _ _ _ {parts[0]} {parts[1]}"]


def bridges(d: Draw) -> Drawn:
    """Implications between relations, one after another, with some that are of no use."""
    kind, binder = d.one(*TYPES)
    count = d.number(3, 5)
    relations = d.names("predicate", count)
    a, b = d.names("number", 2)
    x, y = d.one(("x", "y"), ("i", "j"), ("u", "v"))
    flips = [d.one(True, False) for _ in relations[1:]]
    hs = d.hypotheses(count)
    given, pair, places = [], (x, y), (a, b)
    for h, one, other, flip in zip(hs[1:], relations, relations[1:], flips, strict=False):
        to = (y, x) if flip else (x, y)
        given.append(f"({h} : ∀ {x} {y}, {one} {pair[0]} {pair[1]} → {other} {to[0]} {to[1]})")
        places = places[::-1] if flip else places
    given = [f"({hs[0]} : {relations[0]} {a} {b})", *d.shuffled(given)]
    if d.one(True, False):
        given = given[1:] + given[:1]
    end = d.one("o", "last", "fin")
    signature = (
        f"{binder}({' '.join(relations)} : {kind} → {kind} → Prop) ({a} {b} : {kind}) "
        f"{' '.join(given)} : ∃ {end}, {relations[-1]} {places[0]} {end}"
    )
    lines, last = [], hs[0]
    for number, h in enumerate(hs[1:], start=1):
        lines.append(f"  have e{number} := {h} _ _ {last}")
        last = f"e{number}"
    return "", signature, [*lines, f"  exact ⟨_, {last}⟩"]


TEMPLATES: list[Template] = [transitive, estimates, lifting, bridges]
