"""What stands in the pictures: words, numbers and tables; texts to measure by are kept apart."""

from hashlib import blake2b
from random import Random

from mlx_deepseek.nano.words import SYLLABLES, WORDS

HELD_OUT = 10  # one text in ten is never trained on
MARKS = ".,:;!?"
SYMBOLS = "+-*/=%$#@&()"


def text(rng: Random, longest: int, *, held_out: bool) -> str:
    """A line of at most `longest` characters, of the texts held out or of the others."""
    while True:
        line = _line(rng, longest)
        if line and is_held_out(line) == held_out:
            return line


def is_held_out(line: str) -> bool:
    """Whether a text is kept for measuring."""
    return blake2b(line.encode(), digest_size=4).digest()[0] % HELD_OUT == 0


def _line(rng: Random, longest: int) -> str:
    wanted = rng.randint(1, longest)
    line = _item(rng)
    while len(line) < wanted:
        line += rng.choice((" ", " ", " ", ", ", ": ")) + _item(rng)
    return line[:longest].strip()


def _item(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.35:
        return _cased(rng, rng.choice(WORDS))
    if kind < 0.6:
        return _cased(rng, "".join(rng.choices(SYLLABLES, k=rng.randint(1, 3))))
    if kind < 0.7:
        letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        return "".join(rng.choices(letters, k=rng.randint(2, 6)))
    if kind < 0.92:
        return number(rng)
    return rng.choice(MARKS + SYMBOLS)


def _cased(rng: Random, word: str) -> str:
    word = rng.choice((word, word, word.capitalize(), word.upper()))
    return word + rng.choice(MARKS) if rng.random() < 0.1 else word


def number(rng: Random) -> str:
    """A count, a price, a part, a time or a date."""
    n = rng.randrange(10 ** rng.randint(1, 5))
    return rng.choice(
        (
            str(n),
            str(n),
            f"{n / 100:.2f}",
            f"${n}",
            f"{n % 100}%",
            f"{n % 24}:{n % 60:02}",
            f"{n % 28 + 1}/{n % 12 + 1}",
        )
    )


def cell(rng: Random) -> str:
    """What a small table holds."""
    return rng.choice((str(rng.randrange(1000)), rng.choice(WORDS)[:5], rng.choice(SYLLABLES)))
