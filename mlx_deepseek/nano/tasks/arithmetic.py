"""Sums as they are taught at school: the sum itself, then a digit per line, carries written out."""

from random import Random

from mlx_deepseek.nano.tasks.problem import Problem, number, numeral, phrase

PLACES = ("ones", "tens", "hundreds", "thousands", "ten thousands")


def addition(rng: Random, unseen: bool = False) -> Problem:
    """Two numbers of up to four digits."""
    a, b = number(rng, 4), number(rng, 4)
    question = phrase(rng, "addition", unseen, a=numeral(rng, a), b=numeral(rng, b))
    return Problem(question, "\n".join(added(a, b)), str(a + b))


def subtraction(rng: Random, unseen: bool = False) -> Problem:
    """Two numbers of up to four digits; one result in four is negative."""
    a, b = sorted((number(rng, 4), number(rng, 4)), reverse=rng.random() < 0.75)
    if rng.random() < 0.2:
        b = max(0, a + rng.randint(-30, 30))
    kind = "taking" if a >= b and rng.random() < 0.4 else "subtraction"
    question = phrase(rng, kind, unseen, a=numeral(rng, a), b=numeral(rng, b))
    return Problem(question, "\n".join(subtracted(a, b)), str(a - b))


def multiplication(rng: Random, unseen: bool = False) -> Problem:
    """A number of up to four digits times one digit, or two numbers of two digits."""
    kind = rng.random()
    if kind < 0.45:
        a, b = rng.randint(10, 99), rng.randint(10, 99)
    elif kind < 0.52:
        a, b = number(rng, 3), rng.choice((10, 100, 1000))
    else:
        a, b = number(rng, 4), rng.randint(0, 9)
    if rng.random() < 0.2:
        a, b = b, a
    words = {"a": numeral(rng, a), "b": numeral(rng, b)}
    if rng.random() < 0.06 and not unseen:
        a, b, form = number(rng, 3), *rng.choice(((2, "double"), (2, "twice"), (3, "triple")))
        return Problem(f"{form} {a}", "\n".join(multiplied(a, b)), str(a * b))
    if a == b and rng.random() < 0.5 and not unseen:
        form = rng.choice(
            ("{a} squared", "the square of {a}", "what is {a} squared?", "square {a}")
        )
        return Problem(form.format(a=a), "\n".join(multiplied(a, a)), str(a * a))
    return Problem(
        phrase(rng, "multiplication", unseen, **words), "\n".join(multiplied(a, b)), str(a * b)
    )


def division(rng: Random, unseen: bool = False) -> Problem:
    """A number of up to four digits by 2 to 12 or a few more; half without remainder."""
    b = rng.choice((10, 11, 12, 15, 20, 25, 50)) if rng.random() < 0.3 else rng.randint(2, 9)
    a = number(rng, 4)
    if rng.random() < 0.5:
        a = number(rng, 3) * b if b < 10 else rng.randint(1, 30) * b
    if rng.random() < 0.08 and not unseen:
        a, b, name = number(rng, 4), *rng.choice(((2, "half"), (3, "a third"), (4, "a quarter")))
        form = rng.choice(("{n} of {a}", "what is {n} of {a}?", "how much is {n} of {a}"))
        question = form.format(n=name, a=a)
    else:
        question = phrase(rng, "division", unseen, a=a, b=numeral(rng, b))
    return Problem(question, "\n".join(divided(a, b)), quotient(a, b))


def quotient(a: int, b: int) -> str:
    """The answer of a division."""
    return str(a // b) + (f" remainder {a % b}" if a % b else "")


def added(a: int, b: int) -> list[str]:
    """The sum, then lines such as `tens 4+8+1=13 carry 1`."""
    lines, carry = [f"{a}+{b}"], 0
    for place, x, y in columns(a, b):
        total = x + y + carry
        line = f"{place} {x}+{y}" + (f"+{carry}" if carry else "") + f"={total}"
        carry = total // 10
        lines.append(line + (f" carry {carry}" if carry else ""))
    return lines


def subtracted(a: int, b: int) -> list[str]:
    """The difference, which is larger, then lines such as `tens 4-1-8 borrow 14-1-8=5`."""
    if a < b:
        return [f"{a}-{b}", *compared(str(a), str(b)), f"-({b}-{a})", *borrowed(b, a)]
    return [f"{a}-{b}", *compared(str(a), str(b)), *borrowed(a, b)]


def borrowed(a: int, b: int) -> list[str]:
    """The columns of a - b, for a >= b."""
    lines, borrow = [], 0
    for place, x, y in columns(a, b):
        taken = (f"-{borrow}" if borrow else "") + f"-{y}"
        line = f"{place} {x}{taken}"
        result = x - borrow - y
        borrow = int(result < 0)
        line += f" borrow {x + 10}{taken}={result + 10}" if borrow else f"={result}"
        lines.append(line)
    return lines


def multiplied(a: int, b: int) -> list[str]:
    """The product, then digit by digit of the shorter factor, and the sum of what they give."""
    lines = [f"{a}×{b}"]
    if b in (10, 100, 1000) or a in (10, 100, 1000):
        return [*lines, f"{a}×{b}={a * b}"]
    if len(str(b)) > len(str(a)):
        a, b = b, a
    if b < 10:
        return lines + by_digit(a, b)
    parts = []
    for place, digit in enumerate(map(int, reversed(str(b)))):
        if digit:
            parts.append(a * digit * 10**place)
            lines += [f"{a}×{digit}", *by_digit(a, digit), str(parts[-1])]
    return lines if len(parts) == 1 else lines + added(*parts)


def by_digit(a: int, b: int) -> list[str]:
    """Lines such as `tens 4×6+4=28 carry 2`, for one-digit b."""
    lines, carry = [], 0
    for place, digit in zip(PLACES, reversed(str(a)), strict=False):
        total = int(digit) * b + carry
        line = f"{place} {digit}×{b}" + (f"+{carry}" if carry else "") + f"={total}"
        carry = total // 10
        lines.append(line + (f" carry {carry}" if carry else ""))
    return lines


def divided(a: int, b: int) -> list[str]:
    """The quotient, then long division from the left: `14÷7=2 r 0`."""
    lines, rest = [f"{a}÷{b}"], 0
    for digit in str(a):
        now = 10 * rest + int(digit)
        rest = now % b
        lines.append(f"{now}÷{b}={now // b} r {rest}")
    return lines


def columns(a: int, b: int) -> list[tuple[str, int, int]]:
    """Place name and both digits, ones first."""
    width = max(len(str(a)), len(str(b)))
    rows = zip(reversed(f"{a:0{width}}"), reversed(f"{b:0{width}}"), strict=True)
    return [(PLACES[i], int(x), int(y)) for i, (x, y) in enumerate(rows)]


def compared(a: str, b: str) -> list[str]:
    """How two whole numbers compare: by length, else by their first different digit."""
    x, y = int(a), int(b)
    sign = ">" if x > y else "<" if x < y else "="
    if len(a) != len(b):
        return [f"digits {len(a)}{sign}{len(b)}", f"{a}{sign}{b}"]
    return [digits_compared(a, b), f"{a}{sign}{b}"]


def digits_compared(a: str, b: str) -> str:
    """`3=3 4<7`: digit pairs up to the first that differs."""
    pairs = []
    for x, y in zip(a, b, strict=True):
        pairs.append(f"{x}{'=' if x == y else '>' if x > y else '<'}{y}")
        if x != y:
            break
    return " ".join(pairs)
