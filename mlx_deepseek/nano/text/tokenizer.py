"""Trains nano's byte-level BPE tokenizer, with DeepSeek-V3's pre-tokenizer and special tokens.

One difference from V3: digits stand alone (V3 takes up to three together), so that column
arithmetic sees columns.
"""

from collections.abc import Iterable
from importlib.resources import files
from random import Random
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.nano.tasks import FAMILIES, reply, training_problem
from mlx_deepseek.nano.tasks.problem import SPELL

VOCAB = 1024
SAMPLES_PER_FAMILY = 3000

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
# As in V3, these are not "special" to decoders: a reader sees where thinking ends.
MARKERS = (
    "<｜fim▁hole｜>",
    "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>", "<|EOT|>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>", "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>", "<｜tool▁sep｜>", "<think>", "</think>",
)  # fmt: skip
PATTERNS = (
    r"\p{N}",
    "[一-龥぀-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
)


def train_tokenizer(seed: int = 0) -> Tokenizer:
    """A tokenizer of VOCAB tokens trained on the tasks' own text."""
    tokenizer = byte_level_bpe(PATTERNS, VOCAB - len(MARKERS), _corpus(Random(seed)))
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in MARKERS])
    return tokenizer


def byte_level_bpe(patterns: Iterable[str], vocab: int, texts: Iterable[str]) -> Tokenizer:
    """A tokenizer of `vocab` tokens trained on texts; no token crosses what a pattern matches."""
    tokenizer = Tokenizer(models.BPE())
    splits = [pre_tokenizers.Split(Regex(p), "isolated", invert=False) for p in patterns]
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in (BOS, EOS, PAD)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def shipped_tokenizer() -> Tokenizer:
    """The tokenizer of the nano that is part of the package."""
    return Tokenizer.from_file(str(checkpoint_path() / "tokenizer.json"))


def encode_spelled(tokenizer: Tokenizer, text: str) -> list[int]:
    """Tokens of a text in which SPELL forces a token boundary."""
    pieces = text.split(SPELL)
    encoded = (tokenizer.encode(piece, add_special_tokens=False).ids for piece in pieces)
    return [token for ids in encoded for token in ids]


def tokenizer_config(context: int) -> dict[str, Any]:
    """What tokenizer_config.json says, R1's chat template included."""
    template = files("mlx_deepseek.nano.text") / "chat_template.jinja"
    written = template.read_text(encoding="utf-8")
    return {**special_tokens(context), "unk_token": None, "chat_template": written}


def special_tokens(context: int) -> dict[str, Any]:
    """What tokenizer_config.json says of every model with these special tokens."""
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _corpus(rng: Random) -> Iterable[str]:
    """Questions, and one reply in eight: replies are alike, questions are people's own words."""
    for family in FAMILIES:
        for i in range(SAMPLES_PER_FAMILY):
            problem = training_problem(family, rng)
            yield problem.question
            if i % 8 == 0 and family != "spelling":  # whose text is single letters
                yield from reply(problem).replace(EOS, "").replace("</think>", "").split(SPELL)
