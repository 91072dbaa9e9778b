"""The task families that nano is trained on and measured by."""

from collections.abc import Callable, Mapping
from random import Random

from mlx_deepseek.nano.tasks import algebra, arithmetic, everyday, ordering, smalltalk, words
from mlx_deepseek.nano.tasks.free_prompts import is_free_prompt
from mlx_deepseek.nano.tasks.problem import Family, Problem, held_out, plain

FAMILIES: Mapping[str, Family] = {
    "addition": arithmetic.addition,
    "subtraction": arithmetic.subtraction,
    "multiplication": arithmetic.multiplication,
    "division": arithmetic.division,
    "percentage": algebra.percentage,
    "expression": algebra.expression,
    "equation": algebra.equation,
    "parity": algebra.parity,
    "comparison": ordering.comparison,
    "sorting": ordering.sorting,
    "letter count": words.letter_count,
    "reversal": words.reversal,
    "spelling": words.spelling,
    "weekday": everyday.weekday,
    "date": everyday.date,
    "unit change": everyday.unit_change,
    "word problem": everyday.story,
    "small talk": smalltalk.smalltalk,
    "beyond": smalltalk.beyond,
}

# Families that are slow to learn, or whose replies are short, are asked so much more often.
EMPHASIS = {
    "spelling": 2.0,
    "letter count": 2.0,
    "reversal": 2.0,
    "comparison": 2.0,
    "sorting": 2.0,
    "subtraction": 1.5,
    "multiplication": 1.5,
    "division": 1.5,
    "parity": 0.5,
    "small talk": 1.5,
    "beyond": 3.0,
}

SYSTEM_PROMPTS = ("You are a helpful assistant.", "You are a helpful assistant", "Be concise.")


def training_problem(family: str, rng: Random) -> Problem:
    """A problem of the family that evaluation never asks, nor any of the free prompts."""
    return _draw(family, rng, lambda q: not held_out(q) and not is_free_prompt(q))


def evaluation_problems(
    family: str, count: int, seed: int = 0, *, unseen: bool = False
) -> list[Problem]:
    """Up to `count` different held-out problems; fewer where the family has no more.

    `unseen` ones are worded as training never words them.
    """
    rng = Random(f"{family}/{seed}/{unseen}")
    found: dict[str, Problem] = {}
    for _ in range(50 * count):
        if len(found) == count:
            break
        problem = FAMILIES[family](rng, unseen)
        if unseen or held_out(problem.question):
            found.setdefault(problem.question, problem)
    return list(found.values())


def conversation(rng: Random, family: str, others: list[str]) -> tuple[str, str]:
    """Prompt and worked reply for training, in the R1 chat format.

    One in eight follows an earlier turn (kept, as R1 keeps it, without its reasoning); one in
    twenty has a system prompt.
    """
    problem = training_problem(family, rng)
    prompt = "<｜begin▁of▁sentence｜>"
    if rng.random() < 0.05:
        prompt += rng.choice(SYSTEM_PROMPTS)
    if rng.random() < 0.12:
        earlier = training_problem(rng.choice(others), rng)
        answer = plain(earlier.answer)
        prompt += f"<｜User｜>{earlier.question}<｜Assistant｜>{answer}<｜end▁of▁sentence｜>"
    return prompt + asked(problem.question), reply(problem)


def asked(question: str) -> str:
    """The user's turn and the opening of the answer, without the beginning-of-sentence token."""
    return f"<｜User｜>{question}<｜Assistant｜><think>\n"


def reply(problem: Problem) -> str:
    """What the model should write after `<think>` and a line break; may contain SPELL."""
    return f"{problem.reasoning}\n</think>\n\n{problem.answer}<｜end▁of▁sentence｜>"


def _draw(family: str, rng: Random, wanted: Callable[[str], bool]) -> Problem:
    while True:
        problem = FAMILIES[family](rng, False)
        if wanted(problem.question):
            return problem
