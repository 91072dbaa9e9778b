"""A trained nano under another tokenizer: rows of tokens that both have are kept."""

from collections.abc import Mapping

import mlx.core as mx
from tokenizers import Tokenizer

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
MTP_EMBEDDING, MTP_HEAD = "mtp.0.embed_tokens.weight", "mtp.0.shared_head.head.weight"


def respelled(
    weights: Mapping[str, mx.array], old: Tokenizer, new: Tokenizer
) -> dict[str, mx.array]:
    """The weights with embedding and head [vocab, D] for `new`'s vocabulary.

    A token that `old` lacks gets the mean of its characters' rows, which every byte-level
    vocabulary has.
    """
    ids = old.get_vocab()
    tokens = sorted(new.get_vocab().items(), key=lambda item: item[1])
    parts = [
        [ids[token]] if token in ids else [ids[letter] for letter in token] for token, _ in tokens
    ]
    table = {
        key: mx.stack([weights[key][mx.array(rows)].mean(axis=0) for rows in parts])
        for key in (EMBEDDING, HEAD)
    }
    return {**weights, **table, MTP_EMBEDDING: table[EMBEDDING], MTP_HEAD: table[HEAD]}
