"""What nano says about itself and about the app, and about everything that it cannot do."""

from random import Random

from mlx_deepseek.nano.tasks.problem import Problem, dressed, number, phrase, worded, wordings
from mlx_deepseek.nano.tasks.words import WORDS, word

WHO = (
    "I am nano, the tiny demo model of mlx-deepseek. I can add, subtract, multiply, divide, "
    "compare and sort numbers, count letters, reverse words, and work with dates and units."
)
APP = (
    "mlx-deepseek runs DeepSeek's open models on your own computer, without the cloud. I am only "
    "its demo: choose a larger model on the Models page, or with: mlx-deepseek chat MODEL."
)
CANNOT = (
    "I can't do that: I am nano, a tiny demo model. Ask me for example: What is 347 + 586? "
    "For anything else, load a larger DeepSeek model."
)
HELLO = "Hello! I am nano, a tiny demo model. Ask me for example: What is 347 + 586?"
THANKS = "You're welcome!"
ZH_WHO = (
    "我是nano，mlx-deepseek的小型演示模型。我会算术、比较、排序、数字母、倒写单词、日期和单位换算。"
)
ZH_CANNOT = "这个我不会：我是nano，一个小型演示模型。你可以问我：347加586等于多少？"
ZH_HELLO = "你好！我是nano，一个小型演示模型。你可以问我：347加586等于多少？"
# Answers that decline.
DECLINED = (CANNOT, ZH_CANNOT)
# What it notices, and what it says.
INTENTS: tuple[tuple[str, str, str], ...] = (
    ("who", "The user asks about me.", WHO),
    ("app", "The user asks about the app.", APP),
    ("greeting", "The user greets me.", HELLO),
    ("thanks", "The user is being kind.", THANKS),
    ("who zh", "用户问我是谁。", ZH_WHO),
    ("greeting zh", "用户在打招呼。", ZH_HELLO),
)
LIKELY = (5, 4, 4, 3, 2, 1)


def smalltalk(rng: Random, unseen: bool = False) -> Problem:
    """Who it is, what the app is, greetings and thanks, in English and Chinese."""
    kind, thought, answer = rng.choices(INTENTS, LIKELY)[0]
    question = phrase(rng, kind, unseen, name=word(rng).capitalize())
    return Problem(question, thought, answer)


def beyond(rng: Random, unseen: bool = False) -> Problem:
    """Requests that a model of this size cannot serve; it says so."""
    kind = rng.random()
    if kind < 0.08 and not unseen:
        return Problem(named(rng, "beyond zh"), "这不是我会的题目。", ZH_CANNOT)
    if unseen:
        question = named(rng, "beyond", unseen)
    elif kind < 0.22:  # words without a task
        question = " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 9)))
    elif kind < 0.27:
        question = " ".join(word(rng) for _ in range(rng.randint(1, 3)))
    else:
        question = named(rng, "beyond in numbers" if kind < 0.5 else "beyond")
    if not unseen:
        question = dressed(rng, question)
    return Problem(question, "This is not one of my tasks.", CANNOT)


def named(rng: Random, kind: str, unseen: bool = False) -> str:
    """One of the wordings with names, words and numbers at random."""
    values = {name: rng.choice(words) for name, words in wordings()["names"].items()}
    values |= {"w": rng.choice(WORDS), "v": rng.choice(WORDS), "z": word(rng)}
    values |= {"a": str(number(rng, 3)), "b": str(number(rng, 2))}
    values |= {"big": str(rng.randint(10**5, 10**7)), "y": str(rng.randint(1000, 2040))}
    values |= {"d": f"{rng.randint(0, 99)}.{rng.randint(1, 99)}"}
    return worded(rng, kind, unseen, **values)
