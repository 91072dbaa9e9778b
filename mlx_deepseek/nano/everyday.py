"""Weekdays, dates, units of measure, and small stories that hide a sum."""

from random import Random

from mlx_deepseek.nano.arithmetic import add_steps, multiply_steps, subtract_steps
from mlx_deepseek.nano.problem import Problem, phrase

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ZH_DAYS = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")
MONTHS = {
    "January": 31, "February": 28, "March": 31, "April": 30, "May": 31, "June": 30,
    "July": 31, "August": 31, "September": 30, "October": 31, "November": 30, "December": 31,
}  # fmt: skip
# From, to, how many of the second make one of the first; several English forms of each.
UNITS = (
    ("km", "m", 1000), ("m", "cm", 100), ("cm", "mm", 10), ("kg", "g", 1000), ("l", "ml", 1000),
    ("t", "kg", 1000), ("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24),
    ("weeks", "days", 7), ("years", "months", 12), ("dozen", "eggs", 12), ("feet", "inches", 12),
    ("dollars", "cents", 100),
)  # fmt: skip
NAMES = ("Tom", "Anna", "Ben", "Lily", "Sam", "Mia", "Leo", "Emma", "Max", "Nora", "Tim", "Eva")
THINGS = ("apples", "books", "pens", "stamps", "coins", "cookies", "marbles", "cards", "eggs")


def weekday(rng: Random) -> Problem:
    """The day of the week up to 30 days before or after a given one."""
    start, days = rng.randrange(7), rng.randint(1, 30)
    sign = rng.choice((1, 1, -1))
    names = ZH_DAYS if rng.random() < 0.2 else DAYS
    if names is ZH_DAYS:
        question = f"{names[start]}的{days}天{'后' if sign > 0 else '前'}是星期几？"
    else:
        word = "after" if sign > 0 else "before"
        forms = (
            "What day is {n} days {w} {d}?",
            "What day of the week is {n} days {w} {d}?",
            "Which day comes {n} days {w} {d}?",
            "{n} days {w} {d} is what day?",
        )
        question = phrase(rng, forms, n=days, w=word, d=names[start])
    steps = [] if days < 7 else [f"{days}-{days - days % 7}={days % 7}"]
    walk = [f"{i} {names[(start + sign * i) % 7]}" for i in range(days % 7 + 1)]
    steps.append(" ".join(walk))
    return Problem(question, "\n".join(steps), names[(start + sign * days) % 7])


def date(rng: Random) -> Problem:
    """Up to 30 days after a date of a common year, or a month's neighbour or length."""
    names = list(MONTHS)
    i = rng.randrange(12)
    month, following = names[i], names[(i + 1) % 12]
    length = MONTHS[month]
    kind = rng.random()
    if kind < 0.12:
        forms = (
            "How many days are in {m}?",
            "How many days does {m} have?",
            "{m} has how many days?",
        )
        return Problem(phrase(rng, forms, m=month), f"{month} has {length} days", str(length))
    if kind < 0.24:
        forms = (
            "What month comes after {m}?",
            "Which month is after {m}?",
            "Which month follows {m}?",
        )
        return Problem(phrase(rng, forms, m=month), f"{month} {following}", following)
    day, days = rng.randint(1, length), rng.randint(1, 30)
    forms = (
        "What date is {n} days after {m} {d}?",
        "What is the date {n} days after {m} {d}?",
        "Which date is {n} days after {m} {d}?",
        "{n} days after {m} {d} is what date?",
    )
    total = day + days
    steps = [f"{month} has {length} days", *add_steps(day, days), f"{day}+{days}={total}"]
    if total > length:
        steps += [f"{total}>{length}", f"{total}-{length}={total - length}"]
        answer = f"{following} {total - length}"
    else:
        answer = f"{month} {total}"
    return Problem(phrase(rng, forms, n=days, m=month, d=day), "\n".join(steps), answer)


def unit_change(rng: Random) -> Problem:
    """From a larger unit to a smaller one, or back where nothing is left over."""
    large, small, factor = rng.choice(UNITS)
    n = rng.randint(2, 99) if factor % 10 == 0 and factor != 60 else rng.randint(2, 30)
    forms = (
        "Convert {n} {a} to {b}.",
        "How many {b} are {n} {a}?",
        "How many {b} are in {n} {a}?",
        "{n} {a} in {b}?",
        "{n} {a} = ? {b}",
        "{n} {a}等于多少{b}？",
    )
    fact = f"1 {large} = {factor} {small}"
    if rng.random() < 0.25 and factor in (10, 100, 1000):
        question = phrase(rng, forms, n=n * factor, a=small, b=large)
        return Problem(question, f"{fact}\n{n * factor}÷{factor}={n}", f"{n} {large}")
    steps = [fact, *times_steps(n, factor)]
    question = phrase(rng, forms, n=n, a=large, b=small)
    return Problem(question, "\n".join(steps), f"{n * factor} {small}")


def times_steps(n: int, factor: int) -> list[str]:
    """n times 7, 12, 24, 60 or a power of ten, in steps of one digit."""
    if factor in (10, 100, 1000):
        return [f"{n}×{factor}={n * factor}"]
    if factor == 60:
        return [*multiply_steps(n, 6), f"{n}×6={n * 6}", f"{n}×60={n * 60}"]
    if factor < 10:
        return [*multiply_steps(n, factor), f"{n}×{factor}={n * factor}"]
    tens, ones = factor // 10 * 10, factor % 10
    return [
        f"{n}×{tens}={n * tens}",
        *multiply_steps(n, ones),
        f"{n}×{ones}={n * ones}",
        *add_steps(n * tens, n * ones),
    ]


def story(rng: Random) -> Problem:
    """A word problem of one or two steps with numbers below 100."""
    name, thing, a, b = (
        rng.choice(NAMES),
        rng.choice(THINGS),
        rng.randint(5, 99),
        rng.randint(2, 50),
    )
    kind = rng.choice(("more", "less", "times", "two", "both"))
    if kind == "more":
        forms = (
            "{p} has {a} {t}. {p} gets {b} more. How many {t} does {p} have now?",
            "{p} has {a} {t} and buys {b} more. How many {t} does {p} have?",
            "{p}有{a}个苹果，又买了{b}个，现在有几个？",
        )
        question = phrase(rng, forms, p=name, a=a, b=b, t=thing)
        return Problem(question, "\n".join([f"{a}+{b}", *add_steps(a, b)]), str(a + b))
    if kind == "less":
        a, b = max(a, b), min(a, b)
        forms = (
            "{p} has {a} {t} and gives away {b}. How many {t} are left?",
            "{p} had {a} {t} and lost {b}. How many {t} does {p} have now?",
            "{p}有{a}个苹果，吃了{b}个，还剩几个？",
        )
        question = phrase(rng, forms, p=name, a=a, b=b, t=thing)
        return Problem(question, "\n".join([f"{a}-{b}", *subtract_steps(a, b)]), str(a - b))
    if kind == "times":
        c = rng.randint(2, 9)
        forms = (
            "There are {c} boxes with {a} {t} each. How many {t} are there in total?",
            "{p} buys {c} bags of {a} {t}. How many {t} does {p} have?",
            "Each box holds {a} {t}. How many {t} are in {c} boxes?",
        )
        question = phrase(rng, forms, p=name, a=a, c=c, t=thing)
        return Problem(question, "\n".join([f"{a}×{c}", *multiply_steps(a, c)]), str(a * c))
    if kind == "both":
        other = rng.choice([n for n in NAMES if n != name])
        form = "{p} has {a} {t} and {o} has {b}. How many {t} do they have together?"
        question = form.format(p=name, o=other, a=a, b=b, t=thing)
        return Problem(question, "\n".join([f"{a}+{b}", *add_steps(a, b)]), str(a + b))
    c = rng.randint(2, min(50, a + b - 1))
    form = "{p} has {a} {t}, buys {b} more and gives away {c}. How many {t} are left?"
    steps = [f"{a}+{b}", *add_steps(a, b), f"{a + b}-{c}", *subtract_steps(a + b, c)]
    question = form.format(p=name, a=a, b=b, c=c, t=thing)
    return Problem(question, "\n".join(steps), str(a + b - c))
