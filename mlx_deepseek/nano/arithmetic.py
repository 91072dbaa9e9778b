"""Column arithmetic as it is taught at school: one digit per line, carries written out."""

from random import Random

from mlx_deepseek.nano.problem import Problem, number, phrase

PLACES = ("ones", "tens", "hundreds", "thousands")
SIGNS = {"+": ("+", "plus", "加"), "-": ("-", "minus", "减"), "×": ("×", "times", "乘以")}
FORMS = (
    "What is {a} {s} {b}?",
    "What is {a} {s} {b}?",
    "What's {a} {s} {b}?",
    "Calculate {a} {s} {b}.",
    "Compute {a} {s} {b}",
    "{a} {s} {b} = ?",
    "{a} {s} {b} =",
    "{a} {s} {b}",
    "{a}{s}{b}",
    "{a}{s}{b}=",
    "{a}{s}{b}=?",
    "how much is {a} {s} {b}?",
    "{a} {w} {b}?",
    "What is {a} {w} {b}?",
    "{a}{z}{b}等于多少？",
    "{a}{s}{b}等于多少？",
    "计算{a}{s}{b}",
)
DIVISIONS = (
    "What is {a} / {b}?",
    "What is {a} ÷ {b}?",
    "{a} / {b}",
    "{a}/{b}",
    "{a} ÷ {b} = ?",
    "{a} divided by {b}?",
    "What is {a} divided by {b}?",
    "Calculate {a} / {b}.",
    "Divide {a} by {b}.",
    "{a}除以{b}等于多少？",
    "计算{a}÷{b}",
)


def addition(rng: Random) -> Problem:
    """Two numbers of up to four digits."""
    a, b = number(rng, 4), number(rng, 4)
    return Problem(ask(rng, "+", a, b), "\n".join(add_steps(a, b)), str(a + b))


def subtraction(rng: Random) -> Problem:
    """Two numbers of up to four digits; one result in six is negative."""
    a, b = sorted((number(rng, 4), number(rng, 4)), reverse=rng.random() < 0.84)
    lines = subtract_steps(a, b) if a >= b else [f"{a}<{b}, so -({b}-{a})", *subtract_steps(b, a)]
    return Problem(ask(rng, "-", a, b), "\n".join(lines), str(a - b))


def multiplication(rng: Random) -> Problem:
    """A number of up to four digits times one digit."""
    a, b = number(rng, 4), rng.randint(2, 9)
    sign = rng.choice(("×", "*", "x"))
    if rng.random() < 0.15:
        return Problem(ask(rng, sign, b, a), "\n".join(multiply_steps(a, b)), str(a * b))
    return Problem(ask(rng, sign, a, b), "\n".join(multiply_steps(a, b)), str(a * b))


def division(rng: Random) -> Problem:
    """A number of up to four digits by one digit, half of them without remainder."""
    b = rng.randint(2, 9)
    a = number(rng, 4)
    if rng.random() < 0.5:
        a -= a % b
    answer = str(a // b) + (f" remainder {a % b}" if a % b else "")
    return Problem(phrase(rng, DIVISIONS, a=a, b=b), "\n".join(divide_steps(a, b)), answer)


def ask(rng: Random, sign: str, a: int, b: int) -> str:
    """A phrasing of `a sign b`."""
    _, word, chinese = SIGNS.get(sign, SIGNS["×"])
    return phrase(rng, FORMS, a=a, b=b, s=sign, w=word, z=chinese)


def columns(a: int, b: int) -> list[tuple[str, int, int]]:
    """Place name and both digits, ones first."""
    width = max(len(str(a)), len(str(b)))
    rows = zip(reversed(f"{a:0{width}}"), reversed(f"{b:0{width}}"), strict=True)
    return [(PLACES[i], int(x), int(y)) for i, (x, y) in enumerate(rows)]


def add_steps(a: int, b: int) -> list[str]:
    """Lines such as `tens 4+8+1=13 carry 1`."""
    lines, carry = [], 0
    for place, x, y in columns(a, b):
        total = x + y + carry
        line = f"{place} {x}+{y}" + (f"+{carry}" if carry else "") + f"={total}"
        carry = total // 10
        lines.append(line + (f" carry {carry}" if carry else ""))
    return lines


def subtract_steps(a: int, b: int) -> list[str]:
    """Lines such as `tens 4-1-8 borrow 14-1-8=5`, for a >= b."""
    lines, borrow = [], 0
    for place, x, y in columns(a, b):
        taken = (f"-{borrow}" if borrow else "") + f"-{y}"
        line = f"{place} {x}{taken}"
        result = x - borrow - y
        borrow = int(result < 0)
        line += f" borrow {x + 10}{taken}={result + 10}" if borrow else f"={result}"
        lines.append(line)
    return lines


def multiply_steps(a: int, b: int) -> list[str]:
    """Lines such as `tens 4×6+4=28 carry 2`, for one-digit b."""
    lines, carry = [], 0
    for i, digit in enumerate(reversed(str(a))):
        total = int(digit) * b + carry
        line = f"{PLACES[i]} {digit}×{b}" + (f"+{carry}" if carry else "") + f"={total}"
        carry = total // 10
        lines.append(line + (f" carry {carry}" if carry else ""))
    return lines


def divide_steps(a: int, b: int) -> list[str]:
    """Long division from the left: `14÷7=2 r 0`, for one-digit b."""
    lines, rest = [], 0
    for digit in str(a):
        now = 10 * rest + int(digit)
        rest = now % b
        lines.append(f"{now}÷{b}={now // b} r {rest}")
    return lines
