"""One generated exercise: a question, the steps that solve it, and the answer to check against."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

# Inside a text, between letters: "one token per letter here". Never part of what a user sees.
SPELL = "\x1f"

# One question in this many belongs to the evaluation and is never trained on.
HELD_OUT_ONE_IN = 16


@dataclass(frozen=True)
class Problem:
    """A question with its worked answer; texts may contain SPELL."""

    question: str
    reasoning: str
    answer: str

    def check(self, reply: str) -> bool:
        """Whether `reply`, the text after `</think>`, is the answer."""
        return reply.strip() == plain(self.answer)


Family = Callable[[Random], Problem]


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


def phrase(rng: Random, forms: tuple[str, ...], **values: object) -> str:
    """One of the phrasings, filled in."""
    return rng.choice(forms).format(**values)


def number(rng: Random, digits: int) -> int:
    """A number of 1 to `digits` digits, every length as likely."""
    length = rng.randint(1, digits)
    return rng.randint(0 if length == 1 else 10 ** (length - 1), 10**length - 1)
