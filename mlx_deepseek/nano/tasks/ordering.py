"""Comparing and sorting numbers, digit by digit and one smallest number at a time."""

from random import Random

from mlx_deepseek.nano.tasks.arithmetic import compared, digits_compared
from mlx_deepseek.nano.tasks.problem import Problem, number, phrase


def comparison(rng: Random, unseen: bool = False) -> Problem:
    """Two numbers, whole or with decimals, often alike at the front; or the extreme of a list."""
    if rng.random() < 0.25:
        numbers = rng.sample(range(10 ** rng.choice((1, 2, 2, 3))), rng.randint(3, 5))
        pick, kind = rng.choice(((max, "largest"), (min, "smallest")))
        best, lines = numbers[0], []
        for n in numbers[1:]:
            lines.append(f"{best} {n}: {pick(best, n)}")
            best = pick(best, n)
        return Problem(
            phrase(rng, kind, unseen, list=listed(rng, numbers)), "\n".join(lines), str(best)
        )
    if rng.random() < 0.35:
        a, b, reasoning = decimals(rng)
    else:
        m, n = number(rng, 4), number(rng, 4)
        if rng.random() < 0.5:
            kept = 10 ** rng.randint(1, 3)
            n = m - m % kept + rng.randrange(kept)
        n += m == n
        a, b = str(m), str(n)
        reasoning = "\n".join(compared(a, b))
    pick, kind = rng.choice(((max, "bigger"), (max, "bigger"), (min, "smaller")))
    return Problem(phrase(rng, kind, unseen, a=a, b=b), reasoning, pick((a, b), key=float))


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
        steps = "\n".join(compared(a.split(".")[0], b.split(".")[0]))
    else:
        x, y = a.split(".")[1].ljust(2, "0"), b.split(".")[1].ljust(2, "0")
        steps = f"{a.split('.')[0]} both, .{x} .{y}\n{digits_compared(x, y)}"
    return a, b, f"{steps}\n{a}{'>' if float(a) > float(b) else '<'}{b}"


def listed(rng: Random, numbers: list[int]) -> str:
    """The numbers as people list them."""
    if rng.random() < 0.25:
        return ", ".join(map(str, numbers[:-1])) + f"{rng.choice((',', ''))} and {numbers[-1]}"
    return rng.choice((", ", ", ", " ", " ", ",")).join(map(str, numbers))


def sorting(rng: Random, unseen: bool = False) -> Problem:
    """Three to six numbers below 100, or up to four below 1000, sorted by selection."""
    most = rng.choice((10, 100, 100, 100, 1000))
    rest = rng.sample(range(most), rng.randint(3, 4 if most == 1000 else 6))
    width = len(str(max(rest)))
    down = rng.random() < 0.35
    question = phrase(rng, "descending" if down else "ascending", unseen, list=listed(rng, rest))
    ordered, lines = [], []
    while len(rest) > 1:
        chosen = (max if down else min)(rest)
        lines.append(f"{' '.join(f'{n:0{width}}' for n in rest)}: {chosen:0{width}}")
        ordered.append(chosen)
        rest = [n for n in rest if n != chosen]
    return Problem(question, "\n".join([*lines, str(rest[0])]), ", ".join(map(str, ordered + rest)))
