"""What stands in the pictures: words, letters and numbers; those to measure by are kept apart."""

from hashlib import blake2b
from random import Random

from mlx_deepseek.nano.tasks.words import LETTERS, SYLLABLES, WORDS

HELD_OUT = 10  # one word in ten is never trained on
MARKS = ".,:;!?"
SYMBOLS = "+-*/=%$#@&()"
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def text(rng: Random, longest: int, *, held_out: bool) -> str:
    """A line of at most `longest` characters; its words are all held out, or none is."""
    while True:
        wanted = rng.randint(1, longest)
        line = _item(rng, held_out)
        while len(line) < wanted:
            line += rng.choice((" ", " ", " ", ", ", ": ")) + _item(rng, held_out)
        line = line[:longest].strip()
        kept = [is_held_out(word) for word in words(line)]
        if line and (all(kept) and kept if held_out else not any(kept)):
            return line


def word(rng: Random, longest: int, *, held_out: bool) -> str:
    """An English word, or a made one, of at most `longest` letters; held out or not."""
    while True:
        found = _cased(rng, _letters(rng))
        if 2 < len(found) <= longest and is_held_out(found) == held_out:
            return found


def words(line: str) -> list[str]:
    """The words and numbers of a line that are long enough to be held out."""
    return [bare for item in line.split() if len(bare := item.strip(MARKS)) > 2]


def is_held_out(word: str) -> bool:
    """Whether a word is kept for measuring, in whatever case and with whatever marks."""
    bare = word.strip(MARKS).lower().encode()
    return blake2b(bare, digest_size=4).digest()[0] % HELD_OUT == 0


def _item(rng: Random, held_out: bool) -> str:
    while True:
        item = _any(rng)
        if len(item.strip(MARKS)) < 3 or is_held_out(item) == held_out:
            return item


def _any(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.6:
        item = _cased(rng, _letters(rng))
        return item + rng.choice(MARKS) if rng.random() < 0.1 else item
    if kind < 0.7:
        return "".join(rng.choices(ALPHABET + ALPHABET.upper() + "0123456789", k=rng.randint(2, 8)))
    return number(rng) if kind < 0.94 else rng.choice(MARKS + SYMBOLS)


def _letters(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.4:
        return rng.choice(WORDS)
    if kind < 0.6:
        return "".join(rng.choices(SYLLABLES, k=rng.randint(1, 5)))
    if kind < 0.75:  # as words are, but of no list
        first, last = rng.choice(WORDS), rng.choice(WORDS)
        return first[: rng.randint(1, len(first))] + last[rng.randrange(len(last)) :]
    return "".join(rng.choices(rng.choice((LETTERS, ALPHABET)), k=rng.randint(2, 12)))


def _cased(rng: Random, word: str) -> str:
    return rng.choice((word, word, word, word.capitalize(), word.upper()))


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
