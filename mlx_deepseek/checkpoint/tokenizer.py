"""A checkpoint's tokenizer as its tokenizer.json says, and exact text from its tokens."""

import codecs
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import decoders

from mlx_deepseek.checkpoint.files import read_json
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek.prompts.control_tokens import control_tokens, well_formed
from mlx_deepseek.prompts.special_tokens import BOS, EOS

# In every byte-level vocabulary of a released size, and in no other: " the".
BLANK_AND_WORD = "Ġthe"


class Tokenizer:
    """Text to numbers and back, by the tokenizers library alone.

    transformers chooses a tokenizer class by the model's type, and some of its releases then
    replace what tokenizer.json says; so it is not asked. `settings` are tokenizer_config.json's.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        settings: dict[str, Any] | None = None,
        eos_ids: int | Sequence[int] | None = None,
    ):
        backend.no_truncation()
        backend.no_padding()
        self.backend = backend
        self.settings = settings or {}
        self.bos_token = self._named("bos_token", BOS)
        self.eos_token = self._named("eos_token", EOS)
        listed = [eos_ids] if isinstance(eos_ids, int) else list(eos_ids or ())
        end = backend.token_to_id(self.eos_token) if self.eos_token else None
        self.eos_token_ids: frozenset[int] = frozenset(listed if end is None else [*listed, end])
        self._added = {i: t.content for i, t in backend.get_added_tokens_decoder().items()}
        self._bytes = byte_reader(backend.decoder)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Numbers of a text; special tokens that are written out in it are recognised."""
        return self.backend.encode(well_formed(text), add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, special ones included."""
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """The UTF-8 that a token stands for, perhaps a part of a character's; b"" of no token."""
        if token in self._added:  # stands for itself, whatever the decoder takes its letters for
            return self._added[token].encode()
        text = self.backend.id_to_token(token)
        return b"" if text is None else self._bytes(text)

    @property
    def bos_token_id(self) -> int | None:
        """The number of the token that begins a text."""
        return self.token_id(self.bos_token)

    @property
    def eos_token_id(self) -> int | None:
        """The number of the token that ends an answer; others may too, see `eos_token_ids`."""
        return self.token_id(self.eos_token)

    @property
    def size(self) -> int:
        """Numbers that the tokenizer knows, added tokens included."""
        return self.backend.get_vocab_size()

    def token_id(self, text: str | None) -> int | None:
        """The number of the token that is exactly this text."""
        return None if text is None else self.backend.token_to_id(text)

    def get_vocab(self) -> dict[str, int]:
        """Numbers by the vocabulary's own spelling."""
        return self.backend.get_vocab()

    def get_added_vocab(self) -> dict[str, int]:
        """Tokens that are recognised before the text is split."""
        return {content: number for number, content in self._added.items()}

    @cached_property
    def controls(self) -> list[str]:
        """Special tokens, which texts from outside must not spell, longest first."""
        return control_tokens(self)

    @property
    def detokenizer(self) -> "Detokenizer":
        """A fresh stream of text."""
        return Detokenizer(self)

    @cached_property
    def for_mlx_lm(self) -> TokenizerWrapper:
        """mlx-lm's wrapper around the same tokenizer, for its functions."""
        from transformers import PreTrainedTokenizerFast

        inner = PreTrainedTokenizerFast(
            tokenizer_object=self.backend,
            bos_token=self.bos_token,
            eos_token=self.eos_token,
            chat_template=self.settings.get("chat_template"),
            clean_up_tokenization_spaces=False,
        )
        stream: Any = lambda _: Detokenizer(self)  # noqa: E731
        return TokenizerWrapper(inner, stream, eos_token_ids=self.eos_token_ids)

    def _named(self, key: str, usual: str) -> str | None:
        """A special token by its name in the settings; DeepSeek's usual one if there is that."""
        said = self.settings.get(key)
        said = said.get("content") if isinstance(said, dict) else said
        known = (t for t in (said, usual) if isinstance(t, str) and self.token_id(t) is not None)
        return next(known, None)


class Detokenizer:
    """Text of successive tokens; the bytes of an unfinished character wait for the rest of it.

    It has the methods of mlx-lm's streaming detokenizers.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self.reset()

    def reset(self) -> None:
        """Begin again."""
        self.tokens: list[int] = []
        self.text = ""
        self.offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add_token(self, token: int) -> None:
        """Take the next token."""
        self.tokens.append(token)
        self.text += self._decoder.decode(self._tokenizer.token_bytes(token))

    def finalize(self) -> None:
        """The tokens have ended; an unfinished character becomes the replacement character."""
        self.text += self._decoder.decode(b"", final=True)

    @property
    def last_segment(self) -> str:
        """What is new since this was asked last."""
        new, self.offset = self.text[self.offset :], len(self.text)
        return new


def byte_reader(decoder: Any) -> Any:
    """A function from a vocabulary's spelling of a token to the bytes that it stands for."""
    if spells_bytes(decoder):
        return _byte_level
    state = _state(decoder)
    if '"ByteFallback"' in state or '"Metaspace"' in state:  # SentencePiece's spelling
        return _sentencepiece_bytes
    return str.encode


def spells_bytes(decoder: Any) -> bool:
    """Whether a letter of a token stands for a byte."""
    return isinstance(decoder, decoders.ByteLevel) or '"ByteLevel"' in _state(decoder)


def _state(decoder: Any) -> str:
    return decoder.__getstate__().decode() if decoder is not None else ""


def _byte_level(text: str) -> bytes:
    known = all(letter in LETTERS for letter in text)
    return bytes(LETTERS[letter] for letter in text) if known else text.encode()


def _sentencepiece_bytes(text: str) -> bytes:
    if len(text) == 6 and text.startswith("<0x"):
        return bytes([int(text[3:5], 16)])
    return text.replace("▁", " ").encode()


def _letters() -> dict[str, int]:
    """The letter that stands for each byte in byte-level vocabularies, GPT-2's choice."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    named = {chr(byte): byte for byte in printable}
    return named | {chr(256 + place): byte for place, byte in enumerate(others)}


LETTERS = _letters()


def load_tokenizer(folder: Path, config: dict[str, Any]) -> Tokenizer | None:
    """The tokenizer in `folder`, None without one; runs no foreign code.

    Raises:
        CheckpointError, ConfigError: the files are damaged.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{path}: cannot be read ({error}). Download it again.") from error
    if backend.token_to_id(BLANK_AND_WORD) is not None and not spells_bytes(backend.decoder):
        raise CheckpointError(
            f"{path}: the vocabulary spells bytes, but the decoder is another: it was saved by a "
            "release of transformers that loses blanks. Take tokenizer.json from the original "
            "repository."
        )
    return Tokenizer(backend, tokenizer_config(folder), config.get("eos_token_id"))


def tokenizer_config(folder: Path) -> dict[str, Any] | None:
    """tokenizer_config.json with the chat template, which may be a file of its own.

    Raises:
        ConfigError: it is damaged.
    """
    path = folder / "tokenizer_config.json"
    content = read_json(path) if path.is_file() else {}
    template, older = folder / "chat_template.jinja", folder / "chat_template.json"
    if template.is_file():
        content["chat_template"] = template.read_bytes().decode("utf-8", "replace")
    elif older.is_file():  # of processors of models that see
        content["chat_template"] = read_json(older).get("chat_template")
    return content or None
