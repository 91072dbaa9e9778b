"""The exercises are right, by other means than those that made them, and evaluation is held out."""

import datetime
import re
from random import Random

import pytest

from mlx_deepseek.nano.tasks import (
    FAMILIES,
    conversation,
    evaluation_problems,
    reply,
    training_problem,
)
from mlx_deepseek.nano.tasks.free_prompts import free_prompts, is_free_prompt
from mlx_deepseek.nano.tasks.problem import Problem, held_out, plain
from mlx_deepseek.nano.tasks.smalltalk import (
    APP,
    CANNOT,
    HELLO,
    THANKS,
    WHO,
    ZH_CANNOT,
    ZH_HELLO,
    ZH_WHO,
)

ONES = re.findall(r"\w+", "zero one two three four five six seven eight nine ten eleven twelve")
UNITS = {
    "km kilometer": 1000, "m meter metre": 1, "cm centimeter": 0.01, "mm millimeter": 0.001,
    "kg kilogram kilo": 1000, "g gram": 1, "t ton tonne": 1_000_000, "l liter litre": 1,
    "ml milliliter": 0.001, "hour h": 3600, "minute min": 60, "second": 1, "day": 86400,
    "week": 604800, "year": 31_449_600, "month": 2_620_800, "dozen": 12, "egg": 1,
    "feet foot ft": 12,
    "inche inch": 1, "dollar euro": 100, "cent": 1, "decade": 314_496_000,
    "centurie century": 3_144_960_000,
}  # fmt: skip
SIZES = {name: size for names, size in UNITS.items() for name in names.split()}
SIZES["kilometre"] = SIZES["km"]


def numbers(text: str) -> list[int]:
    """Numbers in digits."""
    return [int(n) for n in re.findall(r"\d+", text)]


def in_digits(question: str) -> str:
    """The question with numbers in words replaced, but for "one", which is also a pronoun."""
    for n, word in enumerate(ONES):
        question = re.sub(
            rf"(?i)(?<![a-z]){word}(?=s\b|[^a-z]|$)", str(n) if n != 1 else word, question
        )
    return question


def sum_of(problem: Problem) -> str:
    """The value of the sum that the reasoning begins with; it has the question's numbers."""
    written, question = problem.reasoning.split("\n")[0], in_digits(problem.question)
    assert set(numbers(problem.question)) <= {*numbers(written)}, problem
    for n in numbers(written):
        words = {
            1: "[oO]ne",
            2: "half|[dD]ouble|[tT]wice|square",
            3: "third|[tT]riple",
            4: "quarter",
        }
        assert n in numbers(question) or re.search(words.get(n, "^$"), question), problem
    if "÷" in written:
        quotient, rest = divmod(*numbers(written))
        return f"{quotient} remainder {rest}" if rest else str(quotient)
    return str(eval(written.replace("×", "*")))


# Wordings that name what is taken away before what it is taken from.
TAKEN_FIRST = (
    r"(subtract|deduct|take|away|remove|give|spend|lose) \w+ (from|of|out of) \w+",
    r"\w+ (less than|subtracted from|below) \w+", r"(far|much) is it from", r"(much|many) less is",
    r"add to \w+ to get", r"gap from", r"how much greater than",
)  # fmt: skip


def difference(problem: Problem) -> str:
    asked = numbers(re.sub(r"\bone\b", "1", in_digits(problem.question)))
    a, b = numbers(problem.reasoning.split("\n")[0])
    first = any(re.search(form, problem.question.lower()) for form in TAKEN_FIRST)
    assert (a, b) == (tuple(asked[::-1]) if first else tuple(asked)), problem
    return str(a - b)


def percentage(problem: Problem) -> str:
    p, n = numbers(problem.reasoning.split("\n")[0])
    assert {p, n} <= set(numbers(problem.question))
    return f"{p * n / 100:g}"


def equation(problem: Problem) -> str:
    """The value, put into the equation of the question, makes it true."""
    name, value = problem.answer.split(" = ")
    left, right = problem.reasoning.split("\n")[0].split("=")
    left, right = (
        re.sub(rf"(\d){name}", rf"\1*{name}", side).replace("×", "*").replace(name, f"({value})")
        for side in (left, right)
    )
    assert eval(left) == eval(right), problem
    return problem.answer


def parity(problem: Problem) -> str:
    return ("even", "odd")[numbers(problem.question)[0] % 2]


def comparison(problem: Problem) -> str:
    found = re.findall(r"\d+(?:\.\d+)?", problem.question)
    less = re.search(
        r"smaller|less|lower|lowest|smallest|least|min|哪个小|更小", problem.question.lower()
    )
    return (min if less else max)(found, key=float)


def sorting(problem: Problem) -> str:
    down = re.search(
        r"desc|to (the )?smallest|to small|to low|to least|decreas|downw|reverse|largest first"
        r"|从大",
        problem.question.lower(),
    )
    return ", ".join(map(str, sorted(numbers(problem.question), reverse=bool(down))))


def letter_count(problem: Problem) -> str:
    letter, colon, shown = problem.reasoning.partition(": ")
    word = re.sub(r"[\d ]", "", shown if colon else problem.reasoning)
    assert word in problem.question
    return str(word.lower().count(letter) if colon else len(word))


def spelling(problem: Problem) -> str:
    assert problem.question.rstrip("?.! ").find(problem.reasoning) >= 0
    return ", ".join(" ".join(word) for word in problem.reasoning.split())


def reversal(problem: Problem) -> str:
    if "\n" not in problem.reasoning:
        words = re.findall(r"[A-Za-z]+", problem.reasoning)
        assert problem.question.endswith(" ".join(words))
        return " ".join(words[::-1])
    word = re.sub(r"[\d ]", "", problem.reasoning.split("\n")[0])
    assert word in problem.question
    return word[::-1]


def weekday(problem: Problem) -> str:
    question = problem.question
    days = (numbers(in_digits(question)) or [1])[0]
    back = re.search("before|ago|minus|yesterday|earlier|back|前", question.lower())
    monday = datetime.date(2024, 1, 1)
    names = [(monday + datetime.timedelta(i)).strftime("%A") for i in range(7)]
    if "星期" in question:
        names = [f"星期{c}" for c in "一二三四五六日"]
    start = next(i for i, name in enumerate(names) if name in question)
    return names[(start - days if back else start + days) % 7]


def date(problem: Problem) -> str:
    question = problem.question
    months = [datetime.date(2023, m, 1).strftime("%B") for m in range(1, 13)]
    month = next(i for i, m in enumerate(months, 1) if m in question)
    if not numbers(question) and re.search("days|long|length", question.lower()):
        following = datetime.date(2023 + month // 12, month % 12 + 1, 1)
        return str((following - datetime.timedelta(1)).day)
    if not numbers(question):
        return months[
            (
                month - 2
                if re.search("before|precede|begins. which|previous", question.lower())
                else month
            )
            % 12
        ]
    days = re.search(r"(\d+) days?", re.sub(r"\b[oO]ne day", "1 day", in_digits(question)))[1]
    name = months[month - 1]
    day = re.search(rf"{name} (\d+)|(\d+)(?:th)?(?: of)? {name}", question)
    when = datetime.date(2023, month, int(day[1] or day[2])) + datetime.timedelta(int(days))
    return f"{when:%B} {when.day}"


def unit_change(problem: Problem) -> str:
    target = problem.answer.split(" ", 1)[1]
    large, small = re.match(r"1 (\w+) = \d+ (\w+)", problem.reasoning).groups()
    (n,) = numbers(in_digits(problem.question)) or [1]
    source = small if target == large else large
    sizes = [
        SIZES[name] if name in SIZES else SIZES[name.removesuffix("s")] for name in (source, target)
    ]
    assert target in problem.question
    return f"{round(n * sizes[0] / sizes[1])} {target}"


# What a story of each operation says, and no other.
STORY = {
    "-": "give|gave|eat|ate|lose|lost|sell|sold|use|spend|break|takes|took|remove|get off|go out"
    "|leave|go away|fly|drive|stolen|gone|吃了",
    "×": "each|every|cost|bags|boxes|packs|baskets",
    "÷": "share|divide|split|equal|gives them|same|puts",
}


def word_problem(problem: Problem) -> str:
    question, written = problem.question.lower(), problem.reasoning.split("\n")[0]
    values = numbers(in_digits(question))
    if len(values) == 3:
        return str(values[0] + values[1] - values[2])
    sign = next(sign for sign in "+-×÷" if sign in written)
    assert bool(re.search(STORY[sign], question)) if sign != "+" else True, problem
    assert sign != "+" or not re.search("lose|lost|eats|ate|left|remain", question), problem
    return sum_of(problem)


ORACLES = {
    "addition": sum_of,
    "subtraction": difference,
    "multiplication": sum_of,
    "division": sum_of,
    "percentage": percentage,
    "expression": sum_of,
    "equation": equation,
    "parity": parity,
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


@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("family", ORACLES)
def test_answers_agree_with_an_independent_solver(family, unseen):
    rng = Random(7)
    for _ in range(400):
        problem = FAMILIES[family](rng, unseen)
        assert plain(problem.answer) == ORACLES[family](problem), problem


def test_no_date_runs_past_the_end_of_february():
    rng = Random(6)
    for _ in range(20_000):
        problem = FAMILIES["date"](rng)
        if "January" in problem.question:
            assert problem.answer == date(problem)


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
    assert replies == {WHO, APP, HELLO, THANKS, ZH_WHO, ZH_HELLO}
    assert {FAMILIES["beyond"](rng).answer for _ in range(200)} == {CANNOT, ZH_CANNOT}


@pytest.mark.parametrize("family", FAMILIES)
def test_evaluation_is_held_out_and_large(family):
    problems = evaluation_problems(family, 60)
    assert len({p.question for p in problems}) == len(problems) >= 40
    assert all(held_out(p.question) for p in problems)
    rng = Random(10)
    assert not any(held_out(training_problem(family, rng).question) for _ in range(300))


def test_free_prompts_are_many_and_never_trained_on():
    prompts = free_prompts()
    assert len({prompt.text.lower() for prompt in prompts}) == len(prompts) == 200
    assert all(is_free_prompt(prompt.text) for prompt in prompts)
    rng = Random(13)
    for family in FAMILIES:
        assert not any(is_free_prompt(training_problem(family, rng).question) for _ in range(200))


def test_a_free_prompt_is_answered_rightly_declined_or_wrong():
    known = {prompt.text: prompt for prompt in free_prompts()}
    found = [known["12*13"].judge(text) for text in ("\n\n156", CANNOT, "36")]
    assert found == ["right", "declined", "wrong"]
    assert known["asdfghjkl"].judge(CANNOT) == "declined"
    assert known["so who are you really?"].judge(WHO) == "right"


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
