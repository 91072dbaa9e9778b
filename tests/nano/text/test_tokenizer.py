"""nano's tokenizer: lossless, one token per digit, DeepSeek's own special tokens and template."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.nano.tasks.problem import SPELL
from mlx_deepseek.nano.text.tokenizer import BOS, EOS, MARKERS, PAD, VOCAB, encode_spelled

TOKENIZER = Tokenizer.from_file(str(checkpoint_path() / "tokenizer.json"))


def ids(text: str) -> list[int]:
    return TOKENIZER.encode(text, add_special_tokens=False).ids


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text):
    assert TOKENIZER.decode(ids(text), skip_special_tokens=False) == text


@pytest.mark.parametrize("text", ["347", "347 + 586", "2024年", "a1b22"])
def test_digits_stand_alone(text):
    digits = [c for c in text if c.isdigit()]
    tokens = [TOKENIZER.decode([i]) for i in ids(text)]
    assert [t for t in tokens if any(c.isdigit() for c in t)] == digits


def test_special_tokens_are_single_and_where_deepseek_has_them():
    assert [TOKENIZER.token_to_id(t) for t in (BOS, EOS, PAD)] == [0, 1, 2]
    for token in (BOS, EOS, PAD, *MARKERS):
        assert len(ids(token)) == 1
    assert TOKENIZER.get_vocab_size() == VOCAB
    text = "<think>\n1+1=2\n</think>\n\n2"
    assert TOKENIZER.decode(ids(text), skip_special_tokens=True) == text


def test_spelling_gives_a_token_per_letter():
    assert "".join(TOKENIZER.decode([i]) for i in encode_spelled(TOKENIZER, SPELL.join("reverse")))
    assert len(encode_spelled(TOKENIZER, SPELL.join("reverse"))) == 7


def test_the_config_names_the_tokens_and_carries_a_template():
    config = json.loads((checkpoint_path() / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (config["bos_token"], config["eos_token"], config["pad_token"]) == (BOS, EOS, PAD)
    assert "'<｜Assistant｜><think>\\n'" in config["chat_template"]
