"""Statements that something exists: the proof names it."""

from mlx_deepseek.nano.prover.exercise import Draw, Template

Drawn = tuple[str, str, list[str]]


def division(d: Draw) -> Drawn:
    """a * n + b = c."""
    n, a, k, b = d.name("induction"), d.number(2, 9), d.number(1, 12), d.number(0, 15)
    left = d.one(f"{a} * {n} + {b}", f"{b} + {a} * {n}", f"{n} * {a} + {b}")
    equation = d.one(f"{left} = {a * k + b}", f"{a * k + b} = {left}")
    return "", f": ∃ {n} : Nat, {equation}", [f"  exact ⟨{k}, rfl⟩"]


def two_equations(d: Draw) -> Drawn:
    """One equation gives x, the other y from it."""
    x, y = d.names("point", 2)
    a, k, j = d.number(2, 6), d.number(1, 9), d.number(0, 9)
    first = d.one(f"{a} * {x} = {a * k}", f"{x} + {a} = {a + k}", f"{a} + {x} = {k + a}")
    second = d.one(f"{x} + {y} = {k + j}", f"{y} + {x} = {k + j}", f"{y} + {k + 1} = {k + 1 + j}")
    parts = d.shuffled([first, second])
    return "", f": ∃ {x} {y} : Nat, {' ∧ '.join(parts)}", [f"  exact ⟨{k}, {j}, rfl, rfl⟩"]


def above(d: Draw) -> Drawn:
    """A number above several."""
    names, n = d.names("number", d.number(2, 3)), d.name("induction")
    shifts = [d.number(0, 9) for _ in names]
    parts = [f"{v} + {s} < {n}" if s else f"{v} < {n}" for v, s in zip(names, shifts, strict=True)]
    proofs = ", ".join("by omega" for _ in names)
    bound = f"{' + '.join(names)} + {max(shifts) + 1}"
    signature = f"({' '.join(names)} : Nat) : ∃ {n}, {' ∧ '.join(parts)}"
    return "", signature, [f"  exact ⟨{bound}, {proofs}⟩"]


def quotient(d: Draw) -> Drawn:
    """A number with a known remainder."""
    n, m = d.name("induction"), d.number(2, 9)
    k, (h,), r = d.name("point"), d.hypotheses(1), d.number(0, 9)
    r %= m
    form = d.one(f"{m} * {k}", f"{k} * {m}") + (f" + {r}" if r else "")
    claim = d.one(f"{n} = {form}", f"{form} = {n}")
    signature = f"({n} : Nat) ({h} : {n} % {m} = {r}) : ∃ {k}, {claim}"
    return "", signature, [f"  exact ⟨{n} / {m}, by omega⟩"]


def difference(d: Draw) -> Drawn:
    """What is missing between two numbers."""
    (a, b), (h,), k, c = d.names("number", 2), d.hypotheses(1), d.name("induction"), d.number(0, 20)
    low = f"{a} + {c}" if c else a
    sign, add = d.one(("≤", 0), ("<", 1))
    more = f"{low} + {k}" + (" + 1" if add else "")
    signature = f"({a} {b} : Nat) ({h} : {low} {sign} {b}) : ∃ {k}, {b} = {more}"
    less = f"{b} - ({a} + {c + add})" if c + add else f"{b} - {a}"
    return "", signature, [f"  exact ⟨{less}, by omega⟩"]


def multiples(d: Draw) -> Drawn:
    """Sums of numbers m * k + r are such numbers."""
    (a, b), (h1, h2), m = d.names("number", 2), d.hypotheses(2), d.number(2, 7)
    x, y = d.names("point", 2)
    k, (c, e) = d.name("induction"), d.one((1, 1), (2, 1), (1, 3))
    r, s = d.number(0, 4) % m, d.number(0, 4) % m
    over, rest = divmod(c * r + e * s, m)

    def term(count: int, name: str) -> str:
        return f"{count} * {name}" if count > 1 else name

    def form(name: str, rest: int) -> str:
        return f"{m} * {name}" + (f" + {rest}" if rest else "")

    signature = (
        f"({a} {b} : Nat) ({h1} : ∃ {k}, {a} = {form(k, r)}) ({h2} : ∃ {k}, {b} = {form(k, s)}) : "
        f"∃ {k}, {term(c, a)} + {term(e, b)} = {form(k, rest)}"
    )
    found = f"{term(c, x)} + {term(e, y)}" + (f" + {over}" if over else "")
    return (
        "",
        signature,
        [
            f"  obtain ⟨{x}, {h1}⟩ := {h1}",
            f"  obtain ⟨{y}, {h2}⟩ := {h2}",
            f"  exact ⟨{found}, by omega⟩",
        ],
    )


def value(d: Draw) -> Drawn:
    """A value that a hypothesis tells."""
    f, (x, y) = d.name("function"), d.names("point", 2)
    places, values = d.random.sample(range(30), 3), d.random.sample(range(30), 3)
    hs = d.hypotheses(3)
    at = d.number(0, 2)
    told = " ".join(f"({h} : {f} {p} = {v})" for h, p, v in zip(hs, places, values, strict=True))
    signature = f"({f} : Nat → Nat) {told} : ∃ {x} {y}, {f} {x} = {y} ∧ {y} = {values[at]}"
    return "", signature, [f"  exact ⟨{places[at]}, {values[at]}, {hs[at]}, rfl⟩"]


TEMPLATES: list[Template] = [
    division, two_equations, above, quotient, difference, multiples, value,
]  # fmt: skip
