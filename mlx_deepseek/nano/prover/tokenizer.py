"""nano-prover's tokenizer: byte-level BPE over Lean's words; digits stand alone."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import Tokenizer

from mlx_deepseek.nano.prover.families import FAMILIES, training
from mlx_deepseek.nano.text.tokenizer import byte_level_bpe, special_tokens
from mlx_deepseek.prompts.formats.prover import FENCE, completion, state_comment

VOCAB = 672
SAMPLES_PER_FAMILY = 2000
PATTERN = (
    r"\p{N}|\n *|/- tactic state:|```(?:lean4)?| ?(?::=|=>|::|\+\+|-/|/-|<;>)"
    r"| ?[\p{L}_][\p{L}_']*|\.[\p{L}_]+| ?[^\s\p{L}\p{N}]| +"
)


def train_tokenizer(seed: int = 0) -> Tokenizer:
    """A tokenizer of VOCAB tokens trained on exercises."""
    return byte_level_bpe([PATTERN], VOCAB, _corpus(Random(seed)))


def tokenizer_of(run: Path) -> Tokenizer:
    """The tokenizer of a training run in a folder, trained when the run begins."""
    path = run / "tokenizer.json"
    if not path.exists():
        run.mkdir(parents=True, exist_ok=True)
        train_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


def tokenizer_config(context: int) -> dict[str, Any]:
    """What tokenizer_config.json says; `prompt_format` takes a chat template's place."""
    return {**special_tokens(context), "prompt_format": "prover_v15"}


def _corpus(random: Random) -> Iterable[str]:
    goal = "case succ\nn : Nat\nih : n = 0\n⊢ n = 0\n\ncase inl.h\nx : Nat\nh : x = 0\n⊢ x = 0"
    for family in FAMILIES:
        for one in islice(training(family, random), SAMPLES_PER_FAMILY):
            yield completion(f"{one.statement}\n", header=one.context)
            yield f"{one.proof}\n{state_comment(goal, 4)}{FENCE}"
