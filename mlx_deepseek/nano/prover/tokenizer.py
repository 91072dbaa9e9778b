"""nano-prover's tokenizer: byte-level BPE over Lean's words; digits stand alone."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mlx_deepseek.nano.prover.families import FAMILIES, training
from mlx_deepseek.nano.text.tokenizer import BOS, EOS, PAD
from mlx_deepseek.prompts.formats.prover import FENCE, completion, state_comment

VOCAB = 672
SAMPLES_PER_FAMILY = 2000
PATTERN = (
    r"\p{N}|\n *|/- tactic state:|```(?:lean4)?| ?(?::=|=>|::|\+\+|-/|/-|<;>)"
    r"| ?[\p{L}_][\p{L}_']*|\.[\p{L}_]+| ?[^\s\p{L}\p{N}]| +"
)


def train_tokenizer(seed: int = 0) -> Tokenizer:
    """A tokenizer of VOCAB tokens trained on exercises."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PATTERN), "isolated", invert=False)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in (BOS, EOS, PAD)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(Random(seed)), trainer)
    return tokenizer


def tokenizer_of(run: Path) -> Tokenizer:
    """The tokenizer of a training run in a folder, trained when the run begins."""
    path = run / "tokenizer.json"
    if not path.exists():
        run.mkdir(parents=True, exist_ok=True)
        train_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


def tokenizer_config(context: int) -> dict[str, Any]:
    """What tokenizer_config.json says; `prompt_format` takes a chat template's place."""
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "prompt_format": "prover_v15",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _corpus(random: Random) -> Iterable[str]:
    goal = "case succ\nn : Nat\nih : n = 0\n⊢ n = 0\n\ncase inl.h\nx : Nat\nh : x = 0\n⊢ x = 0"
    for family in FAMILIES:
        for one in islice(training(family, random), SAMPLES_PER_FAMILY):
            yield completion(f"{one.statement}\n", header=one.context)
            yield f"{one.proof}\n{state_comment(goal, 4)}{FENCE}"
