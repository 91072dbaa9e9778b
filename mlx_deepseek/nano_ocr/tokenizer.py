"""nano-ocr's tokenizer: a token for each printable character, and DeepSeek-OCR's control tokens."""

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from mlx_deepseek.prompts.sight import ASKED

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
    tokenizer.add_tokens(
        [AddedToken(token, special=False, normalized=False) for token in (*CONTROL, *ASKED)]
    )
    return tokenizer
