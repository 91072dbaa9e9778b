"""Spelling words, counting their letters, reversing words and lists of words."""

import re
from random import Random

from mlx_deepseek.nano.tasks.problem import Problem, phrase, spelled, worded, wordings_file

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
the and you that was for are with his they have this from had word but what some were your when
said there use each which their time will way about many then them write would like these her make
thing see him two has look more day could come did sound most people over know than call first who
may down side been now find any new work part take get place made live where after back only round
man year came show every good give our under name very through just form sentence great think say
help low line differ turn cause much mean before move right boy old too same tell does set three
want air well also play end put home read hand port spell add even land here must big high such
follow act why ask men change went light kind off need try again animal point near build self stand
page should found grow study still learn plant cover food four between state keep eye never last
let thought cross hard start might saw far sea draw left late run while press close real life few
north open seem together next begin got walk example ease group always those both mark often until
mile feet care second carry took eat room began idea stop once base hear cut sure watch color face
wood main enough plain girl usual young ready above ever list though feel talk bird soon body
direct leave song measure product short class happen complete area half rock order problem piece
told knew pass since top whole space heard best hour better during hundred remember step early hold
west ground interest reach fast verb sing listen six travel less ten several vowel toward war lay
against pattern center love person money serve appear road map rule govern pull cold notice voice
unit power town fine certain fly fall lead cry dark machine note wait plan figure box noun field
rest correct able pound done beauty drive stood contain front teach week final gave develop warm
free minute special mind behind clear tail produce fact inch multiply nothing course stay wheel
full force object decide surface deep foot system busy test record common possible age dry wonder
laugh thousand ago ran check game shape hot miss brought heat tire bring yes distant fill east
paint among energy weather winner quiz zoo jazz fuzzy quickly rhyme wizard oxygen yacht sphinx
puzzle zigzag vexed kayak jungle quartz quota
"""
# Those above, and those that people ask with.
WORDS = tuple(
    dict.fromkeys(
        [*_WORD_LIST.split(), *re.findall(r"(?<![a-z])[a-z]{3,12}(?![a-z])", wordings_file())]
    )
)
SYLLABLES = tuple(c + v for c in "bcdfghjklmnprstvwz" for v in "aeiou")
LETTERS = "abcdefghijklmnopqrstuvwxyz" + 2 * "aeiourstln" + "eeaoi"


def word(rng: Random) -> str:
    """An English word, a pronounceable invented one, or letters at random; 1 to 12 of them."""
    kind = rng.random()
    if kind < 0.4:
        found = rng.choice(WORDS)
    elif kind < 0.55:  # the front of one word and the end of another
        first, last = rng.choice(WORDS), rng.choice(WORDS)
        found = first[: rng.randint(1, len(first))] + last[rng.randrange(len(last)) :]
    elif kind < 0.7:
        found = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4)))
        found += rng.choice(("", "n", "r", "s", "t", "l", "ing", "er", "ly", "tion"))
    else:
        found = "".join(
            rng.choice(LETTERS) for _ in range(rng.choice((3, 4, 5, 6, 7, 8, 9, 10, 11, 12)))
        )
    return found[:12].capitalize() if rng.random() < 0.12 else found[:12]


def spelling(rng: Random, unseen: bool = False) -> Problem:
    """One to five words letter by letter."""
    words = [word(rng) for _ in range(rng.choice((1, 1, 1, 1, 2, 3, 4, 5)))]
    if len(words) == 1:
        question = phrase(rng, "spelling", unseen, w=words[0])
    else:
        question = worded(rng, "spelling of many", unseen, w=" ".join(words))
    return Problem(question, " ".join(words), ", ".join(" ".join(w) for w in words))


def letter_count(rng: Random, unseen: bool = False) -> Problem:
    """How often a letter occurs in a word (each find is numbered), or how long the word is."""
    w = word(rng)
    if rng.random() < 0.3:
        steps = " ".join(f"{c}{i}" for i, c in enumerate(w, 1))
        return Problem(phrase(rng, "length", unseen, w=w), steps, str(len(w)))
    c = rng.choice(w).lower() if rng.random() < 0.85 else rng.choice("abcdefghijklmnopqrstuvwxyz")
    if rng.random() < 0.3:
        w += c * rng.randint(1, 2)
    found, steps = 0, []
    for letter in w:
        found += letter.lower() == c
        steps.append(f"{letter}{found}" if letter.lower() == c else letter)
    return Problem(
        phrase(rng, "letter count", unseen, w=w, c=c), f"{c}: {' '.join(steps)}", str(found)
    )


def reversal(rng: Random, unseen: bool = False) -> Problem:
    """A word spelled backwards by numbered letters, or three to five words in reverse order."""
    if rng.random() < 0.2:
        words = rng.sample(WORDS, rng.randint(3, 5))
        steps = " ".join(f"{i} {w}" for i, w in enumerate(words, 1))
        question = worded(rng, "reversal of a list", unseen, w=" ".join(words))
        return Problem(question, steps, " ".join(words[::-1]))
    w = word(rng)
    letters = [f"{i}{c}" for i, c in enumerate(w, 1)]
    steps = f"{' '.join(letters)}\n{' '.join(letters[::-1])}"
    return Problem(phrase(rng, "reversal", unseen, w=w), steps, spelled(w[::-1]))
