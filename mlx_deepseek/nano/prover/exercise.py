"""An exercise: a statement, what it speaks of, a proof; and which ones training never sees."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar
from zlib import crc32

T = TypeVar("T")

HELD_OUT = 16  # one statement in so many is for measuring
WORDS = re.compile(r"[^\W\d]\w*(?:\.\w+)*")
TYPES = re.compile(r"\b[αβT]\b")
# What is left of a statement without these are its author's own names.
KNOWN = frozenset(("def", "theorem", "by", "Nat", "List", "Prop", "Type", "α"))


@dataclass(frozen=True)
class Exercise:
    """`context` are definitions, empty or ending with a blank line; `statement` ends `:= by`.

    `proof` are the lines that follow it, without a line break at the end.
    """

    family: str
    context: str
    statement: str
    proof: str

    @property
    def shape(self) -> str:
        """The exercise without its proof and its author's names."""
        return _shape(TYPES.sub("β", self.context + self.statement))

    @property
    def held_out(self) -> bool | None:
        """Whether it is for measuring, with every name for its types; None if with some only.

        No statement of training differs from one for measuring in names alone.
        """
        text = self.context + self.statement
        marks = {crc32(_shape(TYPES.sub(name, text)).encode()) % HELD_OUT == 0 for name in "αβ"}
        return marks.pop() if len(marks) == 1 else None


def _shape(text: str) -> str:
    names: dict[str, str] = {}

    def numbered(word: re.Match[str]) -> str:
        return word[0] if word[0] in KNOWN else names.setdefault(word[0], f"#{len(names)}")

    return " ".join(WORDS.sub(numbered, text).split())


@dataclass
class Draw:
    """Chance, with names that are not used twice."""

    random: Random
    taken: set[str] = field(default_factory=set)

    def name(self, kind: str) -> str:
        """A name of a kind of NAMES."""
        return self.names(kind, 1)[0]

    def names(self, kind: str, count: int) -> list[str]:
        """Different names of a kind."""
        free = [name for name in NAMES[kind].split() if name not in self.taken]
        drawn = self.random.sample(free, count)
        self.taken |= set(drawn)
        return drawn

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self.random.randint(low, high)

    def one(self, *choices: T) -> T:
        """One of these."""
        return self.random.choice(choices)

    def shuffled(self, things: list[T]) -> list[T]:
        """The same things in another order."""
        return self.random.sample(things, len(things))

    def hypotheses(self, count: int) -> list[str]:
        """Names of hypotheses in one style."""
        style = self.one("h{}", "h{}", "h{}", "h_{}", "hyp{}", "k{}")
        if count == 1 and self.random.random() < 0.7:
            return ["h"]
        return [style.format(i) for i in range(1, count + 1)]


NAMES = {
    "function": "f g dbl loop go step rev size grow twice total len climb weight score cost pile "
    "fold run iter walk jump count sum add_up mirror depth steps rank level price tally",
    "number": "a b c d e m u v w z",
    "induction": "n m k i j",
    "list": "xs ys zs l as bs ts",
    "element": "x y a b t",
    "predicate": "p q r s P Q R S A B C D",
    "point": "x y z a b c w t",
    "relation": "r s R S rel le' below near",
    "theorem": "t foo thm main claim step_one lemma_1 ex1 fact goal result aux my_thm test "
    "exercise closed_form key property spec bound",
}

Template = Callable[[Draw], tuple[str, str, list[str]]]


def exercise(family: str, template: Template, random: Random) -> Exercise:
    """One drawn from a template, which gives definitions, what follows the name, and a proof."""
    draw = Draw(random)
    context, signature, proof = template(draw)
    statement = f"theorem {draw.name('theorem')} {signature} := by"
    return Exercise(family, f"{context}\n\n" if context else "", statement, "\n".join(proof))


def stream(
    family: str, templates: list[Template], random: Random, *, held_out: bool
) -> Iterator[Exercise]:
    """Exercises of a family without end, of training or held out."""
    while True:
        drawn = exercise(family, random.choice(templates), random)
        if drawn.held_out == held_out:
            yield drawn
