"""A trained nano under another tokenizer: shared tokens keep their rows."""

import mlx.core as mx
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mlx_deepseek.nano.text.respell import EMBEDDING, HEAD, MTP_EMBEDDING, MTP_HEAD, respelled


def tokenizer(*tokens: str) -> Tokenizer:
    made = Tokenizer(models.BPE(dict(zip(tokens, range(len(tokens)), strict=True)), []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def test_shared_tokens_keep_their_rows_and_new_ones_get_their_letters_mean():
    table = mx.arange(9.0).reshape(3, 3)
    weights = {EMBEDDING: table, HEAD: -table, "model.norm.weight": mx.ones(3)}
    found = respelled(weights, tokenizer("a", "b", "ab"), tokenizer("ab", "ba", "a", "b", "aab"))
    expected = mx.stack(
        [table[2], (table[0] + table[1]) / 2, table[0], table[1], (2 * table[0] + table[1]) / 3]
    )
    assert mx.allclose(found[EMBEDDING], expected)
    assert mx.allclose(found[HEAD], -expected)
    assert mx.array_equal(found[MTP_EMBEDDING], found[EMBEDDING])
    assert mx.array_equal(found[MTP_HEAD], found[HEAD])
    assert mx.array_equal(found["model.norm.weight"], mx.ones(3))


def test_the_same_vocabulary_changes_nothing():
    table = mx.random.normal((3, 4))
    same = tokenizer("a", "b", "ab")
    found = respelled({EMBEDDING: table, HEAD: table}, same, same)
    assert mx.array_equal(found[EMBEDDING], table)
