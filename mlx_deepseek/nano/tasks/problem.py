"""One generated exercise: a question, the steps that solve it, and the answer to check against."""

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

# Inside a text, between letters: "one token per letter here". Never part of what a user sees.
SPELL = "\x1f"

# One question in this many belongs to the evaluation and is never trained on.
HELD_OUT_ONE_IN = 16

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
NUMERALS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip
# What people write around a question of any kind.
OPENINGS = (
    "Please ", "please ", "Hey, ", "hi, ", "Hello, ", "nano, ", "Hi nano, ", "So ", "Ok, ", "now ",
    "Can you tell me ", "Could you please tell me ", "Tell me ", "tell me: ", "I'd like to know ",
    "Quick question: ", "Question: ", "I have a question: ", "Can you help me? ", "Next: ",
    "My homework: ", "Do you know ", "And ", "Well, ", "Help me with this: ", "Let me ask: ",
    "What about this: ", "Good morning, ", "Let's see: ", "Excuse me, ", "I wonder ",
)  # fmt: skip
CLOSINGS = (
    " please", ", please", " please?", ", please?", ", thanks", ", thank you!", " for me",
    " for me please", " now", ", nano", ", ok?", " quickly", ", do you know?", ", can you?",
)  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """A question with its worked answer; texts may contain SPELL."""

    question: str
    reasoning: str
    answer: str

    def check(self, reply: str) -> bool:
        """Whether `reply`, the text after `</think>`, is the answer."""
        return reply.strip() == plain(self.answer)


Family = Callable[[Random, bool], Problem]


def plain(text: str) -> str:
    """The text as a user reads it."""
    return text.replace(SPELL, "")


def spelled(word: str) -> str:
    """The word, to be written one letter per token."""
    return SPELL.join(word)


def held_out(question: str) -> bool:
    """Whether the question is reserved for evaluation; depends on its text alone."""
    digest = hashlib.blake2b(question.encode(), digest_size=4).digest()
    return int.from_bytes(digest) % HELD_OUT_ONE_IN == 0


@cache
def wordings() -> Mapping[str, Mapping[str, Sequence[str]]]:
    """Wordings of each kind of question, `known` to training or `unseen`; and lists of names."""
    return tomllib.loads(wordings_file())


def wordings_file() -> str:
    """The text of wordings.toml."""
    return (files("mlx_deepseek.nano.tasks") / "wordings.toml").read_text(encoding="utf-8")


def phrase(rng: Random, kind: str, unseen: bool, **values: object) -> str:
    """One of the wordings, filled in; known ones get words around them now and then."""
    if unseen:
        return worded(rng, kind, unseen, **values)
    return dressed(rng, expand(rng, rng.choice(wordings()[kind]["known"]))).format(**values)


def worded(rng: Random, kind: str, unseen: bool, **values: object) -> str:
    """One of the wordings, filled in, and nothing around it."""
    form = rng.choice(wordings()[kind]["unseen" if unseen else "known"])
    return expand(rng, form).format(**values)


def expand(rng: Random, form: str) -> str:
    """The form with every choice made, inner ones first."""
    count = 1
    while count:
        form, count = _CHOICE.subn(lambda found: rng.choice(found[1].split("|")), form)
    return " ".join(form.split())


def dressed(rng: Random, form: str) -> str:
    """The form as somebody may write it: capitals, punctuation, words before and after."""
    if not form.isascii():
        return form + rng.choice(("", "", "？", "?", "。")) if form[-1] not in "？。！=" else form
    if rng.random() < 0.25:
        first = form[0].lower() if rng.random() < 0.7 else form[0]
        form = rng.choice(OPENINGS) + first + form[1:]
    if rng.random() < 0.12 and form[-1] not in "=:":
        form = form.rstrip("?.! ") + rng.choice(CLOSINGS)
    elif form[-1].isalnum() or form[-1] in '"}':
        form += rng.choice(("", "", "", ".", "?", "?", "!", " ?"))
    if rng.random() < 0.15:
        form = form.replace("'s ", "s ").replace("n't", "nt")
    return form[0].upper() + form[1:] if rng.random() < 0.6 else form


def number(rng: Random, digits: int) -> int:
    """A number of 1 to `digits` digits, every length as likely."""
    length = rng.randint(1, digits)
    return rng.randint(0 if length == 1 else 10 ** (length - 1), 10**length - 1)


def numeral(rng: Random, n: int) -> str:
    """The number in digits, or small ones now and then as a word."""
    return NUMERALS[n] if n <= 12 and rng.random() < 0.08 else str(n)
