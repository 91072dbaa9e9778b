"""Measures a model on held-out problems: accuracy per family, expert balance, MTP acceptance."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx

from mlx_deepseek.engine.inspect import router_hooks, routing
from mlx_deepseek.nano.tasks import FAMILIES, asked, evaluation_problems, reply
from mlx_deepseek.nano.tasks.free_prompts import free_prompts
from mlx_deepseek.nano.tasks.problem import Problem, plain
from mlx_deepseek.nano.text.loss import draft_logits
from mlx_deepseek.nano.text.tokenizer import BOS, EOS

EOS_ID = 1
MAX_REPLY_TOKENS = 216
BATCH = 256
DRAFTS = 3  # in a row


@dataclass(frozen=True)
class Coder:
    """Text to tokens, without additions, and back."""

    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]


def coder_of(tokenizer: Any) -> Coder:
    """An engine's tokenizer as a coder."""
    return Coder(partial(tokenizer.encode, add_special_tokens=False), tokenizer.decode)


@dataclass(frozen=True)
class FamilyScore:
    """Right answers of a family, and examples of wrong ones as (question, reply)."""

    family: str
    right: int
    asked: int
    wrong: list[tuple[str, str]]

    @property
    def accuracy(self) -> float:
        """Part that was right, 0 to 1."""
        return self.right / self.asked


@dataclass(frozen=True)
class Use:
    """Load of the busiest expert over the mean, per MoE layer, and how often MTP guesses right.

    `mtp_acceptance` is, for the first draft, the second and so on, the part of reply tokens at
    which it is the model's own first choice; empty without an MTP layer.
    """

    max_over_mean: list[float]
    mtp_acceptance: list[float]


def evaluate(
    model: Any, coder: Coder, count: int = 100, *, unseen: bool = False
) -> Iterator[FamilyScore]:
    """Greedy answers to `count` held-out problems per family (fewer where there are no more).

    `unseen` ones are worded as training never words them.
    """
    problems = {name: evaluation_problems(name, count, unseen=unseen) for name in FAMILIES}
    questions = [problem.question for family in problems.values() for problem in family]
    replies = iter(answer(model, coder, questions))  # all at once: batches are of one length
    for name, family in problems.items():
        wrong = [
            (problem.question, text)
            for problem, text in zip(family, itertools.islice(replies, len(family)), strict=True)
            if not problem.check(final(text))
        ]
        yield FamilyScore(name, len(family) - len(wrong), len(family), wrong)


def free_answers(model: Any, coder: Coder) -> list[tuple[str, str, str]]:
    """The free prompts with the model's replies, each right, declined or wrong."""
    prompts = free_prompts()
    replies = answer(model, coder, [prompt.text for prompt in prompts])
    return [
        (prompt.text, reply, prompt.judge(final(reply)))
        for prompt, reply in zip(prompts, replies, strict=True)
    ]


def answer(model: Any, coder: Coder, questions: Sequence[str]) -> list[str]:
    """The greedy replies, reasoning included; questions of one length are batched."""
    prompts = [coder.encode(BOS + asked(question)) for question in questions]
    replies = [""] * len(prompts)
    for rows in by_length(prompts):
        ids = greedy(model, mx.array([prompts[i] for i in rows]))
        for i, tokens in zip(rows, ids, strict=True):
            end = tokens.index(EOS_ID) if EOS_ID in tokens else len(tokens)
            replies[i] = coder.decode(tokens[:end])
    return replies


def greedy(model: Any, prompts: mx.array) -> list[list[int]]:
    """Continuations of prompts [B, L] until every row has ended."""
    cache = model.make_cache()
    token = mx.argmax(model(prompts, cache)[:, -1], axis=-1)
    tokens, ended = [token], token == EOS_ID
    while len(tokens) < MAX_REPLY_TOKENS and not ended.all().item():
        token = mx.argmax(model(token[:, None], cache)[:, -1], axis=-1)
        tokens.append(token)
        ended = ended | (token == EOS_ID)
    rows: Any = mx.stack(tokens, axis=1).tolist()
    return rows


def final(text: str) -> str:
    """What follows the reasoning; nothing when the reasoning never ends."""
    return text.partition("</think>")[2]


def measure_use(model: Any, coder: Coder, count: int = 40) -> Use:
    """Expert loads and MTP acceptance on worked held-out conversations of all families."""
    rows, starts = [], []
    for family in FAMILIES:
        for problem in evaluation_problems(family, count):
            head, tail = _conversation(coder, problem)
            rows.append(head + tail)
            starts.append(len(head))
    agreed, total = mx.zeros(DRAFTS), mx.zeros(DRAFTS)
    with router_hooks(model) as routers:
        for group in by_length(rows):
            ids = mx.array([rows[i] for i in group])
            hidden = model.hidden(ids)
            own = mx.argmax(model.head(hidden), axis=-1)
            mx.eval(own)
            if "mtp" not in model:
                continue
            drafted = draft_logits(model, hidden[:, :-2], ids[:, 1:-1], DRAFTS)
            first = mx.array([starts[i] for i in group])[:, None]
            for i, logits in enumerate(drafted):
                replies = mx.arange(i + 2, ids.shape[1]) >= first
                right = mx.argmax(logits, axis=-1) == own[:, i + 1 : -1]
                agreed[i] += (right & replies).sum()
                total[i] += replies.sum()
            mx.eval(agreed, total)
    acceptance: Any = (agreed / total).tolist() if "mtp" in model else []
    return Use(list(routing(routers).balance), acceptance)


def by_length(rows: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Row numbers in groups of one length, at most BATCH each: no padding is ever needed."""
    groups = defaultdict(list)
    for i, row in enumerate(rows):
        groups[len(row)].append(i)
    for group in groups.values():
        for start in range(0, len(group), BATCH):
            yield group[start : start + BATCH]


def _conversation(coder: Coder, problem: Problem) -> tuple[list[int], list[int]]:
    text = plain(reply(problem)).removesuffix(EOS)
    return coder.encode(BOS + asked(problem.question)), [*coder.encode(text), EOS_ID]
