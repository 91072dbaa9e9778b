"""Rows to learn from: whole proofs, and rests of proofs after the goals that are left."""

import re
from collections.abc import Mapping, Sequence
from random import Random

from tokenizers import Tokenizer

from mlx_deepseek.nano.prover.exercise import Exercise
from mlx_deepseek.nano.prover.families import training
from mlx_deepseek.nano.prover.states import Verified
from mlx_deepseek.nano.text.data import Row
from mlx_deepseek.nano.text.tokenizer import BOS, EOS
from mlx_deepseek.prompts.formats.prover import FENCE, completion, state_comment
from mlx_deepseek.proving.policy import LAST_INDENT

LONGEST = 384  # tokens
WITH_GOALS = 0.4  # part of the rows that go on from a goal


def row(
    tokenizer: Tokenizer, states: Mapping[str, Sequence[Verified]], random: Random, family: str
) -> Row:
    """One row: the prompt of Prover V1.5, and the proof up to the fence."""
    if random.random() < WITH_GOALS and states[family]:
        prompt, answer = continued(random.choice(states[family]), random)
    else:
        drawn = next(training(family, random))
        prompt, answer = asked(drawn), drawn.proof
    head, tail = (
        tokenizer.encode(text, add_special_tokens=False).ids
        for text in (BOS + prompt, f"{answer}\n{FENCE}{EOS}")
    )
    return head + tail, len(head), family


def asked(exercise: Exercise, body: str = "", shown: str = "") -> str:
    """The prompt for a proof, or for the rest of one after `body` and a comment with its goals."""
    return completion(f"{exercise.statement}\n{body}{shown}", header=exercise.context)


def continued(one: Verified, random: Random) -> tuple[str, str]:
    """A prompt with the goals after some line of a proof, and the lines that follow."""
    steps = [(body, goal) for body, goal in one.steps if len(body) < len(one.exercise.proof)]
    if not steps:
        return asked(one.exercise), one.exercise.proof
    body, goal = random.choice(steps)
    if random.random() < 0.5:  # as Lean's own library shows it
        goal = re.sub(r"\bExists fun (\w+) =>", r"∃ \1,", goal)
    found = LAST_INDENT.search(body)
    shown = state_comment(goal, len(found[1]) if found else 2)
    return asked(one.exercise, body, shown), one.exercise.proof[len(body) :]
