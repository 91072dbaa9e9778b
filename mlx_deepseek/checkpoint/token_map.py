"""Which tokens read alike: what an Engram hashes instead of token numbers (arXiv:2601.07372)."""

from pathlib import Path

import mlx.nn as nn
import numpy as np
from tokenizers import Regex, Tokenizer, normalizers

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.layers.engram import Engram, classes

# A lone blank survives the stripping of blanks in this disguise.
BLANK = "\ue000"
# What decoding writes for bytes that are no whole character.
UNREADABLE = "\ufffd"


def attach_token_map(model: nn.Module, folder: Path) -> None:
    """Give a model's Engrams, if it has any, the classes of its tokenizer's tokens.

    Raises:
        CheckpointError: there is no tokenizer, or another one than the tables were made for.
    """
    engrams = [module for module in model.modules() if isinstance(module, Engram)]
    if not engrams:
        return
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: missing. Expected the tokenizer, by which this model looks up its Engram "
            "tables; download it from the original repository."
        )
    numbers = token_map(Tokenizer.from_file(str(path)))
    for engram in engrams:
        expected = engram.config.hash.vocab
        if int(numbers.max()) + 1 != expected:
            raise CheckpointError(
                f"{path}: its tokens are of {int(numbers.max()) + 1} classes. Expected {expected}, "
                "as config.json says; it is another model's tokenizer."
            )
        engram.attach(numbers)


def token_map(tokenizer: Tokenizer) -> np.ndarray:
    """Each token's class [vocab]: those of one class differ in case, accents or blanks alone."""
    plain = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.NFD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[ \t\r\n]+"), " "),
            normalizers.Replace(Regex(r"^ $"), BLANK),
            normalizers.Strip(),
            normalizers.Replace(BLANK, " "),
        ]
    )
    keys = []
    for number in range(tokenizer.get_vocab_size()):
        text = tokenizer.decode([number], skip_special_tokens=False)
        if UNREADABLE in text:
            keys.append(tokenizer.id_to_token(number))
        else:
            keys.append(plain.normalize_str(text) or text)
    return classes(keys)
