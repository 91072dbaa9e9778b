"""Tiny releases that draw from words: golden weights with a tokenizer beside them."""

import json
import shutil
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import Fuse
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from mlx_deepseek.prompts.formats.vision import ASSISTANT, BEGIN, END, FLOW_BEGIN, USER
from mlx_deepseek.prompts.special_tokens import BOS, EOS


def drawing_tokenizer() -> Tokenizer:
    """A token for each printable character, and the control tokens of models that draw."""
    names = (BOS, EOS, "<｜▁pad▁｜>", "�", *"\n", *map(chr, range(32, 127)))
    tokenizer = Tokenizer(WordLevel({name: i for i, name in enumerate(names)}, unk_token="�"))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = Fuse()
    control = (BEGIN, END, FLOW_BEGIN, "<image_placeholder>", USER, ASSISTANT)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in (BOS, EOS)])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in control])
    return tokenizer


def release(golden: Path, target: Path) -> Path:
    """A golden case's files in `target`, with a tokenizer."""
    shutil.copytree(golden, target, ignore=shutil.ignore_patterns("golden.safetensors"))
    drawing_tokenizer().save(str(target / "tokenizer.json"))
    config = {"bos_token": BOS, "eos_token": EOS, "tokenizer_class": "PreTrainedTokenizerFast"}
    (target / "tokenizer_config.json").write_text(json.dumps(config))
    return target
