"""Tiny V4 checkpoints with a tokenizer of single letters, to chat with."""

import json
import shutil
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from mlx_deepseek.prompts import special_tokens as known
from mlx_deepseek.prompts.formats.v4 import IMAGES

SPECIAL = [known.BOS, known.EOS, "<｜▁pad▁｜>", known.USER, known.ASSISTANT, known.SYSTEM]
SPECIAL += [known.THINK_OPEN, known.THINK_CLOSE, known.DSML, known.REMINDER, IMAGES[0]]
VOCABULARY = 128


def letters() -> Tokenizer:
    """A byte-level tokenizer of VOCABULARY tokens, one for each printable letter."""
    plain = [chr(code) for code in range(33, 127)] + ["Ġ", "Ċ"]
    more = [f"{a}{b}" for a in "äöü" for b in "abcdefghij"][: VOCABULARY - len(SPECIAL + plain)]
    vocabulary = {text: number for number, text in enumerate([*SPECIAL, *plain, *more])}
    assert len(vocabulary) == VOCABULARY
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
    return tokenizer


def with_letters(golden: Path, folder: Path) -> Path:
    """A copy of a golden's checkpoint with such a tokenizer."""
    ignore = shutil.ignore_patterns("golden.safetensors", "meta.json")
    shutil.copytree(golden, folder, ignore=ignore)
    letters().save(str(folder / "tokenizer.json"))
    config = json.loads((folder / "config.json").read_text())
    if "vision_min_pixels" in config:  # fewer tokens for small pictures than the release has
        (folder / "config.json").write_text(json.dumps({**config, "vision_min_pixels": 2000}))
    settings = {"bos_token": known.BOS, "eos_token": known.EOS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
