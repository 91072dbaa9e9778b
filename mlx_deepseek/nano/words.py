"""Spelling words, counting their letters, reversing words and lists of words."""

from random import Random

from mlx_deepseek.nano.problem import Problem, phrase, spelled

_WORD_LIST = """
apple banana cherry grape lemon mango melon orange peach pear plum strawberry blueberry tomato
potato carrot onion pepper garlic bread butter cheese milk honey sugar salt water coffee tea juice
cat dog horse sheep goat cow pig duck goose chicken rabbit mouse tiger lion bear wolf fox monkey
elephant giraffe zebra whale dolphin shark fish frog snake turtle spider bee butterfly red green
blue yellow purple black white brown pink silver gold table chair window door house garden kitchen
school bridge river mountain forest island ocean beach cloud rain snow storm wind sun moon star
planet earth fire stone paper pencil book letter story music piano guitar violin drum dance
picture camera phone computer keyboard screen internet robot engine train plane ship boat bicycle
car truck street city village country world morning evening night summer winter spring autumn
monday friday family mother father sister brother friend teacher doctor farmer driver painter
singer king queen prince dragon castle treasure pirate magic happy little small large quick slow
strong gentle clever brave quiet bright heavy simple mississippi committee successful address
balloon coffee bookkeeper possession parallel deepseek model token expert vector matrix number
letter answer question science history language english chinese attention memory apricot pineapple
watermelon raspberry
"""
WORDS = tuple(_WORD_LIST.split())
SYLLABLES = tuple(c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou")
COUNT = (
    "How many {c}'s are in {w}?",
    "How many {c} are in {w}?",
    "How many {c}'s are there in the word {w}?",
    "How many times does {c} appear in {w}?",
    'How many "{c}" are in "{w}"?',
    "How many letters {c} are in the word {w}?",
    "Count the letter {c} in {w}.",
    "{w}里有几个{c}？",
    "单词{w}中有多少个字母{c}？",
)
LENGTH = (
    "How many letters are in {w}?",
    "How many letters does {w} have?",
    "How many letters are in the word {w}?",
    "How long is the word {w}?",
    'Count the letters in "{w}".',
    "{w}有几个字母？",
)
SPELLING = (
    "Spell {w}",
    "Spell the word {w}.",
    "How do you spell {w}?",
    "Spell: {w}",
    "Please spell {w}.",
    "拼写{w}",
)
SPELLINGS = ("Spell these words: {w}", "Spell {w}", "Spell: {w}")
REVERSE = (
    "Reverse the word {w}.",
    "Reverse {w}",
    "Write {w} backwards.",
    "Spell {w} backwards.",
    'Reverse the word "{w}".',
    "What is {w} backwards?",
    "把{w}倒过来写",
)
REVERSE_LIST = (
    "Reverse the order of these words: {w}",
    "Write these words in reverse order: {w}",
    "Reverse this list: {w}",
)


def word(rng: Random) -> str:
    """A real word of at most twelve letters, or a pronounceable invented one."""
    if rng.random() < 0.6:
        return rng.choice(WORDS)
    made = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4)))
    return made + rng.choice(("", "n", "r", "s", "t", "l"))


def spelling(rng: Random) -> Problem:
    """One to six words letter by letter."""
    words = [word(rng) for _ in range(rng.choice((1, 1, 2, 3, 4, 5, 6)))]
    forms = SPELLING if len(words) == 1 else SPELLINGS
    answer = ", ".join(" ".join(w) for w in words)
    return Problem(phrase(rng, forms, w=" ".join(words)), " ".join(words), answer)


def letter_count(rng: Random) -> Problem:
    """How often a letter occurs in a word (each find is numbered), or how long the word is."""
    w = word(rng)
    if rng.random() < 0.25:
        steps = " ".join(f"{c}{i}" for i, c in enumerate(w, 1))
        return Problem(phrase(rng, LENGTH, w=w), steps, str(len(w)))
    c = rng.choice(w) if rng.random() < 0.85 else rng.choice("abcdefghijklmnopqrstuvwxyz")
    found, steps = 0, []
    for letter in w:
        found += letter == c
        steps.append(f"{letter}{found}" if letter == c else letter)
    return Problem(phrase(rng, COUNT, w=w, c=c), " ".join(steps), str(found))


def reversal(rng: Random) -> Problem:
    """A word spelled backwards, or three to five words in reverse order."""
    if rng.random() < 0.3:
        words = rng.sample(WORDS, rng.randint(3, 5))
        steps = " ".join(f"{i} {w}" for i, w in enumerate(words, 1))
        return Problem(phrase(rng, REVERSE_LIST, w=" ".join(words)), steps, " ".join(words[::-1]))
    w = word(rng)
    steps = f"{' '.join(w)}\n{' '.join(w[::-1])}"
    return Problem(phrase(rng, REVERSE, w=w), steps, spelled(w[::-1]))
