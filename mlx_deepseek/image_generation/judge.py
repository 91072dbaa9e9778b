"""A model looks at a picture and says how well it answers its prompt (arXiv:2404.01291 §3)."""

from collections.abc import Iterable, Mapping
from typing import Any

import mlx.core as mx

# What is asked of a picture and a prompt.
QUESTION = 'Does this figure show "{prompt}"? Please answer yes or no.'
ANSWERS = {True: ("Yes", "yes", " Yes", " yes"), False: ("No", "no", " No", " no")}


def question(prompt: str) -> str:
    """What to ask about a picture."""
    return QUESTION.format(prompt=prompt)


def first_tokens(encode: Any) -> Mapping[bool, frozenset[int]]:
    """The tokens that yes and no can begin with; those that both begin with say nothing."""
    found = {answer: {encode(word)[0] for word in words} for answer, words in ANSWERS.items()}
    both = found[True] & found[False]
    return {answer: frozenset(tokens - both) for answer, tokens in found.items()}


def share_of_yes(logits: mx.array, tokens: Mapping[bool, Iterable[int]]) -> float:
    """How likely yes is, in [0, 1], where the answer is yes or no; of logits [vocab]."""
    logits = logits.astype(mx.float32)
    sums = [
        mx.logsumexp(logits[mx.array(sorted(tokens[answer]), dtype=mx.int32)])
        for answer in (True, False)
    ]
    return mx.sigmoid(sums[0] - sums[1]).item()  # type: ignore[return-value]
