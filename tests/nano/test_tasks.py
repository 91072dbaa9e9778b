"""The exercises are right, by other means than those that made them, and evaluation is held out."""

import datetime
import re
from random import Random

import pytest

from mlx_deepseek.nano.problem import held_out, plain
from mlx_deepseek.nano.smalltalk import CANNOT, HELLO, THANKS, WHO, ZH_CANNOT, ZH_HELLO, ZH_WHO
from mlx_deepseek.nano.tasks import (
    FAMILIES,
    conversation,
    evaluation_problems,
    reply,
    training_problem,
)

SIGNS = {
    "plus": "+", "加": "+", "minus": "-", "减": "-", "times": "*", "乘以": "*", "x": "*", "×": "*",
    "÷": "/", "divided by": "/", "除以": "/", "by": "/",
}  # fmt: skip
SMALLER = ("smaller", "哪个小")
DOWN = ("largest to smallest", "descending", "从大到小")
UNITS = {
    "km": 1000, "m": 1, "cm": 0.01, "mm": 0.001, "kg": 1000, "g": 1, "t": 1_000_000, "l": 1,
    "ml": 0.001, "hours": 3600, "minutes": 60, "seconds": 1, "days": 86400, "weeks": 604800,
    "years": 12, "months": 1, "dozen": 12, "eggs": 1, "feet": 12, "inches": 1, "dollars": 100,
    "cents": 1,
}  # fmt: skip


def numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def arithmetic(question: str) -> str:
    a, b = numbers(question)
    between = re.search(r"\d+\s*(\D+?)\s*\d+", question).group(1)
    sign = SIGNS.get(between, between)
    if sign == "/":
        quotient, rest = divmod(a, b)
        return f"{quotient} remainder {rest}" if rest else str(quotient)
    return str({"+": a + b, "-": a - b, "*": a * b}[sign])


def comparison(question: str) -> str:
    found = re.findall(r"\d+(?:\.\d+)?", question)
    best = min if any(word in question for word in SMALLER) else max
    return best(found, key=float)


def sorting(question: str) -> str:
    down = any(word in question for word in DOWN)
    return ", ".join(map(str, sorted(numbers(question), reverse=down)))


def letter_count(question: str) -> str:
    quoted = re.findall(r"[a-z]+", question.replace("'s", ""))
    for form in (
        r"How many letters (?:are in|does)(?: the word)? ([a-z]+)",
        r"How long is the word ([a-z]+)",
        r'Count the letters in "([a-z]+)"',
        r"^([a-z]+)有几个字母",
    ):
        if found := re.search(form, question):
            return str(len(found.group(1)))
    letter = next(w for w in quoted if len(w) == 1)
    words = [w for w in quoted if len(w) > 1]
    word = words[0] if question[0].islower() or question.startswith("单词") else words[-1]
    if "appear in" in question or " in " in question:
        word = question.rstrip('?."').split()[-1].strip('"')
    return str(word.count(letter))


def spelling(question: str) -> str:
    words = re.sub(
        r"^(Please )?([sS]pell|How do you spell|拼写)( the word| these words)?", "", question
    )
    return ", ".join(" ".join(w) for w in re.findall("[a-z]+", words))


def reversal(question: str) -> str:
    if ":" in question:
        return " ".join(reversed(question.split(": ")[1].split()))
    for form in (
        r"Reverse the word \"?([a-z]+)", r"Reverse ([a-z]+)$",
        r"(?:Write|Spell) ([a-z]+) backwards", r"What is ([a-z]+) backwards", r"把([a-z]+)倒",
    ):  # fmt: skip
        if found := re.search(form, question):
            return found.group(1)[::-1]
    raise AssertionError(question)


def weekday(question: str) -> str:
    (days,) = numbers(question)
    sign = -1 if "before" in question or "前" in question else 1
    monday = datetime.date(2024, 1, 1)
    names = [(monday + datetime.timedelta(i)).strftime("%A") for i in range(7)]
    if "星期" in question:
        names = [f"星期{c}" for c in "一二三四五六日"]
    start = next(i for i, name in enumerate(names) if name in question)
    return names[(start + sign * days) % 7]


def date(question: str) -> str:
    months = [datetime.date(2023, m, 1).strftime("%B") for m in range(1, 13)]
    month = next(i for i, m in enumerate(months, 1) if m in question)
    if "how many" in question.lower():
        following = datetime.date(2023 + month // 12, month % 12 + 1, 1)
        return str((following - datetime.timedelta(1)).day)
    if "month" in question:
        return months[month % 12]
    found = re.search(r"(\d+) days after [A-Z][a-z]+ (\d+)", question)
    when = datetime.date(2023, month, int(found.group(2)))
    when += datetime.timedelta(int(found.group(1)))
    return f"{when:%B} {when.day}"


def unit_change(question: str) -> str:
    (n,) = numbers(question)
    names = [w for w in re.findall(r"[a-z]+", question) if w in UNITS]
    after = re.match(r"[^\d]*\d+ ([a-z]+)", question).group(1)
    target = next(w for w in names if w != after)
    return f"{round(n * UNITS[after] / UNITS[target])} {target}"


def word_problem(question: str) -> str:
    values = numbers(question)
    if len(values) == 3:
        return str(values[0] + values[1] - values[2])
    a, b = values
    if any(w in question for w in ("boxes", "bags")):
        return str(a * b)
    if any(w in question for w in ("gives away", "lost", "吃了")):
        return str(a - b)
    return str(a + b)


ORACLES = {
    "addition": arithmetic,
    "subtraction": arithmetic,
    "multiplication": arithmetic,
    "division": arithmetic,
    "comparison": comparison,
    "sorting": sorting,
    "letter count": letter_count,
    "reversal": reversal,
    "spelling": spelling,
    "weekday": weekday,
    "date": date,
    "unit change": unit_change,
    "word problem": word_problem,
}


@pytest.mark.parametrize("family", ORACLES)
def test_answers_agree_with_an_independent_solver(family):
    rng = Random(7)
    for _ in range(400):
        problem = FAMILIES[family](rng)
        assert plain(problem.answer) == ORACLES[family](problem.question), problem.question


def test_equations_in_the_reasoning_hold():
    rng = Random(8)
    checked = 0
    for family in ("addition", "subtraction", "multiplication", "word problem", "unit change"):
        for _ in range(200):
            steps = FAMILIES[family](rng).reasoning
            for left, right in re.findall(r"(?<![\d+×-])(\d+(?:[+×-]\d+)+)=(\d+)", steps):
                assert eval(left.replace("×", "*")) == int(right), steps
                checked += 1
    assert checked > 2000


def test_small_talk_has_one_answer_per_intent():
    rng = Random(9)
    replies = {FAMILIES["small talk"](rng).answer for _ in range(500)}
    assert replies == {WHO, HELLO, THANKS, ZH_WHO, ZH_HELLO}
    assert {FAMILIES["beyond"](rng).answer for _ in range(200)} == {CANNOT, ZH_CANNOT}


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_is_held_out_and_large(family):
    problems = evaluation_problems(family, 60)
    assert len({p.question for p in problems}) == len(problems) >= 40
    assert all(held_out(p.question) for p in problems)
    rng = Random(10)
    assert not any(held_out(training_problem(family, rng).question) for _ in range(300))


def test_a_problem_depends_on_its_seed_alone():
    for family, generate in FAMILIES.items():
        assert generate(Random(3)) == generate(Random(3)), family
    assert evaluation_problems("date", 5) == evaluation_problems("date", 5)


def test_a_check_takes_the_answer_and_nothing_else():
    problem = FAMILIES["reversal"](Random(2))
    assert problem.check(f"\n\n{plain(problem.answer)}")
    assert not problem.check(plain(problem.answer) + "x")
    assert not problem.check("")


def test_a_conversation_has_the_r1_form():
    rng = Random(11)
    names = list(FAMILIES)
    rows = [conversation(rng, "addition", names) for _ in range(200)]
    assert all(p.startswith("<｜begin▁of▁sentence｜>") for p, _ in rows)
    assert all(p.endswith("<｜Assistant｜><think>\n") for p, _ in rows)
    assert all(re.fullmatch(r"[^<]+\n</think>\n\n-?\d+<｜end▁of▁sentence｜>", r) for _, r in rows)
    earlier = [p for p, _ in rows if p.count("<｜User｜>") == 2]
    assert 5 < len(earlier) < 60
    assert not any("</think>" in p for p in earlier)


def test_a_reply_shows_its_thinking():
    rng = Random(12)
    assert all(reply(make(rng)).split("</think>")[0].strip() for make in FAMILIES.values())
