"""Percentages, sums of several numbers, equations of one unknown, even and odd."""

from random import Random

from mlx_deepseek.nano.tasks.arithmetic import added, borrowed, divided, multiplied, subtracted
from mlx_deepseek.nano.tasks.problem import Problem, number, phrase


def percentage(rng: Random, unseen: bool = False) -> Problem:
    """A whole percentage of a number below 1000."""
    p = rng.choice(
        (1, 2, 5, 10, 10, 15, 20, 25, 30, 40, 50, 60, 75, 80, 90, 100, rng.randint(1, 99))
    )
    n = rng.choice((number(rng, 3), 10 * rng.randint(1, 60), 100 * rng.randint(1, 9)))
    value = f"{n * p / 100:.2f}".rstrip("0").rstrip(".")
    steps = [f"{p}% of {n}", *multiplied(n, p), f"{n * p}÷100={value}"]
    return Problem(phrase(rng, "percentage", unseen, p=p, n=n), "\n".join(steps), value)


def expression(rng: Random, unseen: bool = False) -> Problem:
    """Sums, differences and products of three or four numbers; products come first."""
    if rng.random() < 0.25:
        terms = [number(rng, 2) for _ in range(rng.choice((3, 3, 3, 4)))]
        listed = ", ".join(map(str, terms[:-1])) + rng.choice((" and ", ", ")) + str(terms[-1])
        if rng.random() < 0.3:
            listed = " ".join(map(str, terms))
        steps, total = reduced(terms, ["+"] * (len(terms) - 1))
        return Problem(
            phrase(rng, "sum of many", unseen, list=listed), "\n".join(steps), str(total)
        )
    while True:
        signs = rng.choices("+-×", (4, 3, 2), k=rng.choice((2, 2, 2, 3)))
        terms = [
            rng.choice((number(rng, 2), number(rng, 1), 10 * rng.randint(1, 20)))
            for _ in range(len(signs) + 1)
        ]
        pairs = zip(signs, terms, terms[1:], strict=False)
        if signs.count("×") > 1 or any(s == "×" and min(a, b) > 9 for s, a, b in pairs):
            continue
        steps, total = reduced(terms, signs)
        if steps and total < 2000:
            break
    gap, times = rng.choice(("", " ", " ")), rng.choice("×*x*")
    written = str(terms[0])
    for sign, term in zip(signs, terms[1:], strict=True):
        written += f"{gap}{times if sign == '×' else sign}{gap}{term}"
    return Problem(phrase(rng, "expression", unseen, e=written), "\n".join(steps), str(total))


def reduced(terms: list[int], signs: list[str]) -> tuple[list[str], int]:
    """The expression, its steps and its value; no steps where a part of it is negative."""
    terms, signs = list(terms), list(signs)
    steps = [_written(terms, signs)]
    while signs:
        i = signs.index("×") if "×" in signs else 0
        a, b, sign = terms[i], terms[i + 1], signs.pop(i)
        if sign == "-" and a < b:
            return [], 0
        way = {"+": added, "-": _taken, "×": multiplied}[sign]
        steps += way(a, b) if signs or steps[-1] != f"{a}{sign}{b}" else way(a, b)[1:]
        terms[i : i + 2] = [{"+": a + b, "-": a - b, "×": a * b}[sign]]
        if signs:
            steps.append(_written(terms, signs))
    return steps, terms[0]


def _taken(a: int, b: int) -> list[str]:
    return [f"{a}-{b}", *borrowed(a, b)]


def _written(terms: list[int], signs: list[str]) -> str:
    return str(terms[0]) + "".join(f"{s}{t}" for s, t in zip(signs, terms[1:], strict=True))


def equation(rng: Random, unseen: bool = False) -> Problem:
    """One unknown in a sum, difference, product or quotient."""
    v, gap = rng.choice("xxxxxynabztk"), rng.choice(("", " ", " "))
    a, b = number(rng, 3 if rng.random() < 0.3 else 2), number(rng, 2)
    small, other = rng.randint(2, 12), rng.randint(0, 40)
    times = rng.choice(("", "", "*", "×"))
    c, p = a + b, small * other
    kinds = (  # the equation, how it is turned, its steps and the value
        (f"{v} + {a} = {b}", f"{v}={b}-{a}", subtracted(b, a), b - a),
        (f"{v} + {b} = {c}", f"{v}={c}-{b}", subtracted(c, b), a),
        (f"{a} + {v} = {c}", f"{v}={c}-{a}", subtracted(c, a), b),
        (f"{v} - {a} = {b}", f"{v}={b}+{a}", added(b, a), c),
        (f"{c} - {v} = {b}", f"{v}={c}-{b}", subtracted(c, b), a),
        (f"{small}{times}{v} = {p}", f"{v}={p}÷{small}", divided(p, small), other),
        (f"{v} / {small} = {b}", f"{v}={b}×{small}", multiplied(b, small), b * small),
    )
    written, turned, steps, value = rng.choices(kinds, (1, 3, 1, 2, 2, 3, 2))[0]
    written = written.replace(" ", gap)
    if rng.random() < 0.08:
        left, right = written.split("=")
        written = f"{right.strip()}{gap}={gap}{left.strip()}"
    return Problem(
        phrase(rng, "equation", unseen, e=written, v=v).replace(":?", ":"),
        "\n".join([written.replace(" ", ""), turned, *steps[1:]]),
        f"{v} = {value}",
    )


def parity(rng: Random, unseen: bool = False) -> Problem:
    """Whether a number is even or odd."""
    n = number(rng, 4)
    answer = "odd" if n % 2 else "even"
    return Problem(phrase(rng, "parity", unseen, n=n), f"{n}: last digit {n % 10}", answer)
