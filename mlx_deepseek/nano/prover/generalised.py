"""Functions with an accumulator: the induction needs it to be any number."""

from mlx_deepseek.nano.prover.exercise import Draw, Template
from mlx_deepseek.nano.prover.recursion import Drawn, line, list_induction, summing


def induction(n: str, over: str, zero: list[str], succ: list[str]) -> list[str]:
    """Induction over a number, for all `over`."""
    return [
        f"  induction {n} generalizing {over} with",
        "  | zero =>",
        *(f"    {tactic}" for tactic in zero),
        f"  | succ {n} ih =>",
        *(f"    {tactic}" for tactic in succ),
    ]


def loop(d: Draw) -> Drawn:
    """loop (n + 1) a = loop n (a + step)."""
    f, n, a = d.name("function"), d.name("induction"), d.one("acc", d.name("number"))
    step, base = d.number(1, 12), d.number(0, 9)
    more = d.one(f"{a} + {step}", f"{step} + {a}")
    end = f"{a} + {base}" if base else a
    context = (
        f"def {f} : Nat → Nat → Nat\n  | 0, {a} => {end}\n  | {n} + 1, {a} => {f} {n} ({more})"
    )
    rest = line(n, step, base, d)
    right = f"{rest} + {a}" if base else d.one(f"{rest} + {a}", f"{a} + {rest}")
    proof = induction(n, a, [f"rw [{f}]", "omega"], [f"rw [{f}, ih]", "omega"])
    return context, f"({n} {a} : Nat) : {f} {n} {a} = {right}", proof


def at_least(d: Draw) -> Drawn:
    """The accumulator does not get smaller."""
    f, n, a = d.name("function"), d.name("induction"), d.one("acc", d.name("number"))
    step = d.number(1, 20)
    context = (
        f"def {f} : Nat → Nat → Nat\n  | 0, {a} => {a}\n  | {n} + 1, {a} => {f} {n} ({a} + {step})"
    )
    slope = d.number(0, step)
    low = f"{slope} * {n} + {a}" if slope > 1 else f"{n} + {a}" if slope else a
    proof = induction(
        n, a, [f"rw [{f}]", "omega"],
        [f"rw [{f}]", f"have h := ih ({a} + {step})", "omega"],
    )  # fmt: skip
    return context, f"({n} {a} : Nat) : {low} ≤ {f} {n} {a}", proof


def two_accumulators(d: Draw) -> Drawn:
    """Two of them, which may change places."""
    f, n, (a, b) = d.name("function"), d.name("induction"), d.names("number", 2)
    s, t = d.number(0, 9), d.number(1, 9)
    new = [f"({a} + {s})" if s else a, f"({b} + {t})"]
    new = d.one(new, new[::-1])
    context = (
        f"def {f} : Nat → Nat → Nat → Nat\n  | 0, {a}, {b} => {a} + {b}\n"
        f"  | {n} + 1, {a}, {b} => {f} {n} {' '.join(new)}"
    )
    claim = f"{f} {n} {a} {b} = {line(n, s + t, 0, d)} + {a} + {b}"
    proof = induction(n, f"{a} {b}", [f"rw [{f}]", "omega"], [f"rw [{f}, ih]", "omega"])
    return context, f"({n} {a} {b} : Nat) : {claim}", proof


def list_loop(d: Draw) -> Drawn:
    """A sum with an accumulator is the sum without."""
    f, g = d.names("function", 2)
    x, xs, a = d.name("element"), d.name("list"), d.one("acc", "c", "m")
    factor, more = d.number(1, 6), d.number(0, 6)
    part = (x if factor == 1 else f"{factor} * {x}") + (f" + {more}" if more else "")
    context = summing(f, x, xs, factor, more, d) + (
        f"\n\ndef {g} : List Nat → Nat → Nat\n  | [], {a} => {a}\n"
        f"  | {x} :: {xs}, {a} => {g} {xs} ({a} + {part})"
    )
    right = d.one(f"{f} {xs} + {a}", f"{a} + {f} {xs}")
    proof = list_induction(
        xs, x, [f"rw [{g}, {f}]", "omega"], [f"rw [{g}, {f}, ih]", "omega"], f" generalizing {a}"
    )
    return context, f"({xs} : List Nat) ({a} : Nat) : {g} {xs} {a} = {right}", proof


def counting(d: Draw) -> Drawn:
    """A count with an accumulator."""
    f, x, xs, a = d.name("function"), d.name("element"), d.name("list"), d.one("acc", "c", "m")
    step = d.number(1, 20)
    context = (
        f"def {f} : List Nat → Nat → Nat\n  | [], {a} => {a}\n"
        f"  | _ :: {xs}, {a} => {f} {xs} ({a} + {step})"
    )
    claim = f"{f} {xs} {a} = {line(f'{xs}.length', step, 0, d)} + {a}"
    proof = list_induction(
        xs, x, [f"rw [{f}, List.length_nil]", "omega"],
        [f"rw [{f}, ih, List.length_cons]", "omega"], f" generalizing {a}",
    )  # fmt: skip
    return context, f"({xs} : List Nat) ({a} : Nat) : {claim}", proof


def reversing(d: Draw) -> Drawn:
    """Elements that move from one list to another, some changed."""
    f, x, xs, a = d.name("function"), d.name("element"), d.name("list"), d.one("acc", "out", "done")
    c = d.number(0, 20)
    new = f"({d.one(f'{x} + {c}', f'{c} * {x}')})" if c else x
    context = (
        f"def {f} : List Nat → List Nat → List Nat\n  | [], {a} => {a}\n"
        f"  | {x} :: {xs}, {a} => {f} {xs} ({new} :: {a})"
    )
    left, right = d.shuffled([xs, a])
    claim = f"({f} {xs} {a}).length = {left}.length + {right}.length"
    proof = list_induction(
        xs, x, [f"rw [{f}, List.length_nil]", "omega"],
        [f"rw [{f}, ih, List.length_cons, List.length_cons]", "omega"], f" generalizing {a}",
    )  # fmt: skip
    return context, f"({xs} {a} : List Nat) : {claim}", proof


TEMPLATES: list[Template] = [
    loop, at_least, two_accumulators, list_loop, counting, reversing,
]  # fmt: skip
