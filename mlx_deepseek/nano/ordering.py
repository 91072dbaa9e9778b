"""Comparing and sorting numbers, digit by digit and one smallest number at a time."""

from random import Random

from mlx_deepseek.nano.problem import Problem, number, phrase

BIGGER = (
    "Which is bigger, {a} or {b}?",
    "Which number is larger: {a} or {b}?",
    "Which is greater, {a} or {b}?",
    "Is {a} or {b} bigger?",
    "{a} or {b}, which is larger?",
    "{a}和{b}哪个大？",
    "哪个更大，{a}还是{b}？",
)
SMALLER = (
    "Which is smaller, {a} or {b}?",
    "Which number is smaller: {a} or {b}?",
    "Is {a} or {b} smaller?",
    "{a}和{b}哪个小？",
)
ASCENDING = (
    "Sort these numbers: {list}",
    "Sort {list}.",
    "Sort {list} in ascending order.",
    "Put {list} in order from smallest to largest.",
    "Order these numbers: {list}",
    "把{list}从小到大排序",
)
DESCENDING = (
    "Sort {list} in descending order.",
    "Sort {list} from largest to smallest.",
    "Put {list} in order from largest to smallest.",
    "把{list}从大到小排序",
)


def comparison(rng: Random) -> Problem:
    """Two numbers of up to four digits, or with one or two decimals; often alike at the front."""
    if rng.random() < 0.35:
        a, b, reasoning = decimals(rng)
        larger, smaller = (a, b) if float(a) > float(b) else (b, a)
    else:
        m, n = number(rng, 4), number(rng, 4)
        if rng.random() < 0.5:
            kept = 10 ** rng.randint(1, 3)
            n = m - m % kept + rng.randrange(kept)
        if m == n:
            n += 1
        a, b = str(m), str(n)
        larger, smaller = str(max(m, n)), str(min(m, n))
        reasoning = compare_steps(a, b)
    if rng.random() < 0.7:
        return Problem(phrase(rng, BIGGER, a=a, b=b), reasoning, larger)
    return Problem(phrase(rng, SMALLER, a=a, b=b), reasoning, smaller)


def decimals(rng: Random) -> tuple[str, str, str]:
    """Two different decimals and how they compare."""
    whole, other = (rng.randint(0, 20) for _ in range(2))
    if rng.random() < 0.75:
        other = whole
    tails = [str(rng.randint(1, 9)), f"{rng.randint(1, 99):02}"]
    rng.shuffle(tails)
    if rng.random() < 0.3:
        tails = [f"{rng.randint(1, 99):02}", f"{rng.randint(1, 99):02}"]
    a, b = f"{whole}.{tails[0]}", f"{other}.{tails[1]}"
    if float(a) == float(b):
        b = f"{whole + 1}.{tails[1]}"
    if a.split(".")[0] != b.split(".")[0]:
        steps = compare_steps(a.split(".")[0], b.split(".")[0])
    else:
        x, y = a.split(".")[1].ljust(2, "0"), b.split(".")[1].ljust(2, "0")
        steps = f"{a.split('.')[0]} both, .{x} .{y}\n{digits_compared(x, y)}"
    return a, b, f"{steps}\n{a}{'>' if float(a) > float(b) else '<'}{b}"


def compare_steps(a: str, b: str) -> str:
    """How two whole numbers compare: by length, else by their first different digit."""
    sign = ">" if int(a) > int(b) else "<"
    if len(a) != len(b):
        return f"digits {len(a)}{sign}{len(b)}\n{a}{sign}{b}"
    return f"{digits_compared(a, b)}\n{a}{sign}{b}"


def digits_compared(a: str, b: str) -> str:
    """`3=3 4<7`: digit pairs up to the first that differs."""
    pairs = []
    for x, y in zip(a, b, strict=True):
        pairs.append(f"{x}{'=' if x == y else '>' if x > y else '<'}{y}")
        if x != y:
            break
    return " ".join(pairs)


def sorting(rng: Random) -> Problem:
    """Three to five different numbers below 100, sorted by selection."""
    rest = rng.sample(range(100), rng.randint(3, 5))
    down = rng.random() < 0.3
    question = phrase(
        rng, DESCENDING if down else ASCENDING, list=rng.choice((", ", " ")).join(map(str, rest))
    )
    ordered, lines = [], []
    while len(rest) > 1:
        chosen = (max if down else min)(rest)
        lines.append(f"{' '.join(map(str, rest))}: {chosen}")
        ordered.append(chosen)
        rest = [n for n in rest if n != chosen]
    return Problem(question, "\n".join([*lines, str(rest[0])]), ", ".join(map(str, ordered + rest)))
