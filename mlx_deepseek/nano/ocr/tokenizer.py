"""nano-ocr's tokenizer: a token for each printable character, and DeepSeek-OCR's control tokens."""

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from mlx_deepseek.prompts.formats.vision import INSTRUCTION_WORDS

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
IMAGE = "<image>"
CONTROL = (IMAGE, "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>", "<td>", "</td>")
UNKNOWN = "\ufffd"
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))


def build_tokenizer() -> Tokenizer:
    """The tokenizer; characters that it does not know become one token."""
    vocab = {token: number for number, token in enumerate((BOS, EOS, PAD, UNKNOWN, *CHARACTERS))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    special = [AddedToken(token, special=True, normalized=False) for token in (BOS, EOS, PAD)]
    tokenizer.add_special_tokens(special)
    # What it is asked is one token each: the instructions say little and would cost much.
    known = (*CONTROL, *INSTRUCTION_WORDS)
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in known])
    return tokenizer


def tokenizer_config(context: int) -> dict[str, Any]:
    """What tokenizer_config.json says."""
    return {
        "add_bos_token": False,
        "bos_token": BOS,
        "clean_up_tokenization_spaces": False,
        "eos_token": EOS,
        "model_max_length": context,
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
