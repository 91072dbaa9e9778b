"""Weekdays, dates, units of measure, and small stories that hide a sum."""

from random import Random

from mlx_deepseek.nano.tasks.arithmetic import added, divided, multiplied, quotient, subtracted
from mlx_deepseek.nano.tasks.problem import Problem, numeral, phrase

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ZH_DAYS = ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日")
MONTHS = {
    "January": 31, "February": 28, "March": 31, "April": 30, "May": 31, "June": 30,
    "July": 31, "August": 31, "September": 30, "October": 31, "November": 30, "December": 31,
}  # fmt: skip
# From, to, how many of the second make one of the first; names of each, parted by bars.
UNITS = (
    ("km|km|kilometers|kilometres", "m|m|meters|metres", 1000),
    ("m|m|meters|metres", "cm|cm|centimeters", 100),
    ("cm|cm|centimeters", "mm|mm|millimeters", 10), ("kg|kg|kilograms|kilos", "g|g|grams", 1000),
    ("l|l|liters|litres", "ml|ml|milliliters", 1000), ("t|t|tons|tonnes", "kg|kg|kilograms", 1000),
    ("hours|hours|h", "minutes|minutes|min", 60), ("minutes|minutes|min", "seconds|seconds", 60),
    ("days", "hours", 24), ("weeks", "days", 7), ("years", "months", 12), ("years", "weeks", 52),
    ("dozen", "eggs", 12), ("feet|feet|ft", "inches", 12), ("dollars", "cents", 100),
    ("euros", "cents", 100),
    ("decades", "years", 10), ("centuries", "years", 100), ("m|meters", "mm|millimeters", 1000),
)  # fmt: skip
SINGULAR = {"feet": "foot", "inches": "inch", "centuries": "century", "dozen": "dozen"}
NAMES = (
    "Tom", "Anna", "Ben", "Lily", "Sam", "Mia", "Leo", "Emma", "Max", "Nora", "Tim", "Eva", "Peter",
    "Mary", "John", "Sara", "My sister", "A farmer", "The teacher", "Dad", "Grandma", "A shop",
)  # fmt: skip
THINGS = (
    "apples", "books", "pens", "stamps", "coins", "cookies", "marbles", "cards", "eggs", "flowers",
    "sweets", "stickers", "toys", "cakes", "balls", "dollars", "oranges", "fish", "nuts", "tickets",
)  # fmt: skip


def weekday(rng: Random, unseen: bool = False) -> Problem:
    """The day of the week up to 30 days before or after a given one."""
    start, days = rng.randrange(7), rng.randint(1, 30)
    sign = rng.choice((1, 1, -1))
    names = ZH_DAYS if rng.random() < 0.15 and not unseen else DAYS
    if names is ZH_DAYS:
        question = f"{names[start]}的{days}天{'后' if sign > 0 else '前'}是星期几？"
    elif rng.random() < 0.15:
        days = 1
        question = phrase(rng, "day after" if sign > 0 else "day before", unseen, d=names[start])
    else:
        kind = "days after" if sign > 0 else "days before"
        question = phrase(rng, kind, unseen, n=numeral(rng, days), d=names[start])
        if days == 1:
            question = question.replace(" days ", " day ")
    steps = [f"{'+' if sign > 0 else '-'}{days}"]
    if days > 6:
        steps.append(f"{days}-{days - days % 7}={days % 7}")
    walk = [f"{i} {names[(start + sign * i) % 7]}" for i in range(days % 7 + 1)]
    return Problem(question, "\n".join([*steps, " ".join(walk)]), names[(start + sign * days) % 7])


def date(rng: Random, unseen: bool = False) -> Problem:
    """Up to 30 days after a date of a common year, or a month's neighbour or length."""
    names = list(MONTHS)
    i = rng.randrange(12)
    month, following, before = names[i], names[(i + 1) % 12], names[i - 1]
    length, kind = MONTHS[month], rng.random()
    if kind < 0.12:
        question = phrase(rng, "month length", unseen, m=month)
        return Problem(question, f"{month} has {length} days", str(length))
    if kind < 0.2:
        return Problem(
            phrase(rng, "month after", unseen, m=month), f"{month} {following}", following
        )
    if kind < 0.25:
        return Problem(phrase(rng, "month before", unseen, m=month), f"{before} {month}", before)
    day, days = rng.randint(1, length), rng.randint(1, 30)
    days = min(days, length - day + MONTHS[following])  # no further than into the next month
    question = phrase(rng, "date", unseen, n=numeral(rng, days), m=month, d=day)
    if days == 1:
        question = question.replace(" days ", " day ")
    total = day + days
    steps = [f"{month} has {length} days", *added(day, days), f"{day}+{days}={total}"]
    if total > length:
        steps += [f"{total}>{length}", f"{total}-{length}={total - length}"]
        answer = f"{following} {total - length}"
    else:
        answer = f"{month} {total}"
    return Problem(question, "\n".join(steps), answer)


def unit_change(rng: Random, unseen: bool = False) -> Problem:
    """From a larger unit to a smaller one, or back where nothing is left over."""
    *both, factor = rng.choice(UNITS)
    large, small = (rng.choice(str(names).split("|")) for names in both)
    n = rng.randint(1, 99) if factor % 10 == 0 and factor != 60 else rng.randint(1, 30)
    fact = f"1 {large} = {factor} {small}"
    if rng.random() < 0.25 and factor in (10, 100, 1000) and not unseen:
        question = phrase(rng, "unit change", unseen, n=n * factor, a=small, b=large)
        return Problem(question, f"{fact}\n{n * factor}÷{factor}={n}", f"{n} {large}")
    name = large
    if n == 1 and len(large) > 2:
        name = SINGULAR.get(large, large.removesuffix("s"))
    words = rng.choice((numeral(rng, n), "one" if n > 1 else "a")) if n == 1 else numeral(rng, n)
    question = phrase(rng, "unit change", unseen, n=words, a=name, b=small)
    return Problem(question, "\n".join([fact, *multiplied(n, factor)]), f"{n * factor} {small}")


def story(rng: Random, unseen: bool = False) -> Problem:
    """A word problem of one or two steps with numbers below 100."""
    names, thing = rng.sample(NAMES, 2), rng.choice(THINGS)
    a, b, c = rng.randint(3, 99), rng.randint(2, 50), rng.randint(2, 9)
    kind = rng.choice(("more", "less", "times", "both", "share", "two"))
    if kind in ("less", "two"):
        a, b = max(a, b), min(a, b)
    if kind == "share":
        a = c * rng.randint(2, 20)
    c = rng.randint(2, min(50, a + b - 1)) if kind == "two" else c
    steps, answer = {
        "more": (added(a, b), a + b),
        "less": (subtracted(a, b), a - b),
        "times": (multiplied(a, c), a * c),
        "both": (added(a, b), a + b),
        "share": (divided(a, c), quotient(a, c)),
        "two": ([*added(a, b), *subtracted(a + b, c)], a + b - c),
    }[kind]
    values = {"p": names[0], "o": names[1], "a": a, "b": b, "c": numeral(rng, c), "t": thing}
    return Problem(phrase(rng, f"story {kind}", unseen, **values), "\n".join(steps), str(answer))
