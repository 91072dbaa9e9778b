"""Prompts in people's own words, which measure nano and are never trained on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from mlx_deepseek.nano.tasks.smalltalk import APP, DECLINED, HELLO, THANKS, WHO, ZH_WHO

# What the file names instead of quoting; everything else in it is an answer to the letter.
NAMED = {
    "who": (WHO, ZH_WHO),
    "app": (APP, WHO),
    "hello": (HELLO,),
    "thanks": (THANKS,),
    "decline": (),
}


@dataclass(frozen=True)
class FreePrompt:
    """A prompt, and the answers that are right; none where declining is."""

    text: str
    right: tuple[str, ...]

    def judge(self, answer: str) -> str:
        """`right`, `declined` or `wrong`, of the text after the reasoning."""
        answer = answer.strip()
        return "right" if answer in self.right else "declined" if answer in DECLINED else "wrong"


@cache
def free_prompts() -> Sequence[FreePrompt]:
    """All of them, from free_prompts.tsv: a prompt, a tab, and answers parted by bars."""
    text = (files("mlx_deepseek.nano.tasks") / "free_prompts.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return [
        FreePrompt(prompt, tuple(a for name in right.split("|") for a in NAMED.get(name, (name,))))
        for prompt, right in rows
    ]


def is_free_prompt(question: str) -> bool:
    """Whether the question is one of them, but for case and punctuation at its end."""
    return _bare(question) in _bare_prompts()


@cache
def _bare_prompts() -> frozenset[str]:
    return frozenset(_bare(prompt.text) for prompt in free_prompts())


def _bare(question: str) -> str:
    return re.sub(r"[?!.,。？！ ]+$", "", question.lower())
