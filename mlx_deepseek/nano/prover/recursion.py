"""Functions that a file defines by recursion, and what induction shows of them."""

from mlx_deepseek.nano.prover.exercise import Draw, Template

Drawn = tuple[str, str, list[str]]


def stepping(f: str, n: str, base: int, step: int, d: Draw) -> str:
    """f 0 = base, f (n + 1) = f n + step."""
    more = d.one(f"{f} {n} + {step}", f"{step} + {f} {n}")
    return f"def {f} : Nat → Nat\n  | 0 => {base}\n  | {n} + 1 => {more}"


def line(n: str, step: int, base: int, d: Draw) -> str:
    """step * n + base in one of its spellings."""
    product = n if step == 1 else d.one(f"{step} * {n}", f"{n} * {step}")
    return d.one(f"{product} + {base}", f"{base} + {product}") if base else product


def induction(n: str, unfolded: str, *, zero: str = "rfl", end: str = "omega") -> list[str]:
    """Induction over a number."""
    return [
        f"  induction {n} with",
        f"  | zero => {zero}",
        f"  | succ {n} ih =>",
        f"    rw [{unfolded}]",
        f"    {end}",
    ]


def list_induction(xs: str, x: str, nil: list[str], cons: list[str], over: str = "") -> list[str]:
    """Induction over a list."""
    return [
        f"  induction {xs}{over} with",
        "  | nil =>",
        *(f"    {tactic}" for tactic in nil),
        f"  | cons {x} {xs} ih =>",
        *(f"    {tactic}" for tactic in cons),
    ]


def closed_form(d: Draw) -> Drawn:
    """f n = step * n + base."""
    f, n, base, step = d.name("function"), d.name("induction"), d.number(0, 20), d.number(1, 12)
    right = line(n, step, base, d)
    claim = d.one(f"{f} {n} = {right}", f"{right} = {f} {n}")
    context = stepping(f, n, base, step, d)
    return context, f"({n} : Nat) : {claim}", induction(n, f, zero=f"rw [{f}]")


def lower_bound(d: Draw) -> Drawn:
    """f n is at least something."""
    f, n, base, step = d.name("function"), d.name("induction"), d.number(1, 20), d.number(1, 12)
    low = d.number(1, base)
    slope = d.number(0, step)
    right = line(n, slope, low, d) if slope else str(low)
    claim = d.one(f"{right} ≤ {f} {n}", f"{f} {n} ≥ {right}")
    proof = induction(n, f, zero=f"rw [{f}]; omega")
    return stepping(f, n, base, step, d), f"({n} : Nat) : {claim}", proof


def remainder(d: Draw) -> Drawn:
    """f n has a remainder that does not change."""
    f, n, m = d.name("function"), d.name("induction"), d.number(2, 6)
    base, step = d.number(0, 20), m * d.number(1, 4)
    signature = f"({n} : Nat) : {f} {n} % {m} = {base % m}"
    return stepping(f, n, base, step, d), signature, induction(n, f)


def two_functions(d: Draw) -> Drawn:
    """Two functions and their sum."""
    f, g = d.names("function", 2)
    n = d.name("induction")
    (b, c), (s, t) = (d.number(0, 9), d.number(0, 9)), (d.number(1, 9), d.number(1, 9))
    context = stepping(f, n, b, s, d) + "\n\n" + stepping(g, n, c, t, d)
    claim = f"{f} {n} + {g} {n} = {line(n, s + t, b + c, d)}"
    return context, f"({n} : Nat) : {claim}", induction(n, f"{f}, {g}", zero=f"rw [{f}, {g}]")


def summing(f: str, x: str, xs: str, factor: int, more: int, d: Draw) -> str:
    """f [] = 0, f (x :: xs) = factor * x + more + f xs."""
    part = (x if factor == 1 else f"{factor} * {x}") + (f" + {more}" if more else "")
    value = d.one(f"{part} + {f} {xs}", f"{f} {xs} + {part}")
    return f"def {f} : List Nat → Nat\n  | [] => 0\n  | {x} :: {xs} => {value}"


def append(d: Draw) -> Drawn:
    """The sum over two lists in a row."""
    f, x, (xs, ys) = d.name("function"), d.name("element"), d.names("list", 2)
    context = summing(f, x, xs, d.number(1, 6), d.number(0, 6), d)
    right = d.one(f"{f} {xs} + {f} {ys}", f"{f} {ys} + {f} {xs}")
    proof = list_induction(
        xs, x, [f"rw [List.nil_append, {f}]", "omega"],
        [f"rw [List.cons_append, {f}, {f}, ih]", "omega"],
    )  # fmt: skip
    return context, f"({xs} {ys} : List Nat) : {f} ({xs} ++ {ys}) = {right}", proof


def length(d: Draw) -> Drawn:
    """A function that counts the elements of a list."""
    f, x, xs = d.name("function"), d.name("element"), d.name("list")
    base, step = d.number(0, 12), d.number(1, 12)
    more = d.one(f"{f} {xs} + {step}", f"{step} + {f} {xs}")
    context = f"def {f} : List Nat → Nat\n  | [] => {base}\n  | _ :: {xs} => {more}"
    claim = f"{f} {xs} = {line(f'{xs}.length', step, base, d)}"
    proof = list_induction(
        xs, x, [f"rw [{f}, List.length_nil]"], [f"rw [{f}, List.length_cons]", "omega"]
    )
    return context, f"({xs} : List Nat) : {claim}", proof


def mapped(d: Draw) -> Drawn:
    """A function that changes every element: lengths stay, and it goes through `++`."""
    f, x, (xs, ys) = d.name("function"), d.name("element"), d.names("list", 2)
    c = d.number(1, 20)
    new = d.one(f"{x} + {c}", f"{c} * {x}", f"{x} * {c}", f"{c} + {x}")
    context = f"def {f} : List Nat → List Nat\n  | [] => []\n  | {x} :: {xs} => ({new}) :: {f} {xs}"
    if d.one(True, False):
        claim = f"({f} {xs}).length = {xs}.length"
        cons = [f"rw [{f}, List.length_cons, List.length_cons, ih]"]
        return context, f"({xs} : List Nat) : {claim}", list_induction(xs, x, ["rfl"], cons)
    claim = f"{f} ({xs} ++ {ys}) = {f} {xs} ++ {f} {ys}"
    proof = list_induction(xs, x, ["rfl"], [f"rw [List.cons_append, {f}, {f}, ih]", "rfl"])
    return context, f"({xs} {ys} : List Nat) : {claim}", proof


TEMPLATES: list[Template] = [
    closed_form, lower_bound, remainder, two_functions, append, length, mapped,
]  # fmt: skip
