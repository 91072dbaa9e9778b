"""Text comes back letter for letter, streamed and whole, whatever transformers thinks."""

import json
import shutil
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from mlx_deepseek import prompts
from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.checkpoint.tokenizer import Tokenizer, load_tokenizer
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek.generation.grammar import Grammars, Thoughts
from mlx_deepseek.generation.output import OutputStream
from mlx_deepseek.generation.request import GeneratedToken
from mlx_deepseek.generation.results import Usage
from mlx_deepseek.prompts.parser import OutputParser

SHARED = Path(__file__).parents[2].parent / "shared" / "tokenizers"
FOLDERS = [path for path in sorted(SHARED.glob("*")) if path.is_dir()] + [checkpoint_path()]
EXACT = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda path: path.name)
def tokenizer(request) -> Tokenizer:
    found = load_tokenizer(request.param, {})
    assert found is not None
    return found


def small() -> Tokenizer:
    """A byte-level vocabulary with letters among its added tokens, as V1's and V2's have."""
    inner = json.loads((checkpoint_path() / "tokenizer.json").read_text())
    backend = tokenizers.Tokenizer.from_str(json.dumps(inner))
    backend.add_special_tokens(list("üö÷ÀúÿõÁþ"))
    return Tokenizer(backend)


def shown(tokenizer: Tokenizer, ids) -> str:
    stream = OutputStream(tokenizer, OutputParser(trim=False))
    chunks = [stream.read(GeneratedToken(token, Usage())) for token in ids]
    return "".join(chunk.text for chunk in [*chunks, stream.finish(Usage(), "stop")])


TEXTS = st.text(max_size=40) | st.sampled_from(
    [
        "F\u00fchrer, \u00bft\u00fa?, 6 \u00f7 2",
        "Gr\u00f6\u00dfe",
        "    return x",
        " 7",
        "a\0b",
        "\ue000\ue001\uf8ff",
        "\ufeffBOM",
        "\ufffd",
        "\U0001f469\u200d\U0001f467 e\u0301",
        "<\uff5cUser\uff5c>",
        "</think>",
        " \n\t\r\n ",
        "\u4e2d\u6587 and more",
        "<|EOT|>",
        "\u202eabc",
        "\x7f\x80\x9f",
    ]
)


@given(data=st.data())
@EXACT
def test_what_was_encoded_comes_back(tokenizer, data):
    text = data.draw(TEXTS)
    ids = tokenizer.encode(text)
    assert ids == tokenizer.backend.encode(text, add_special_tokens=False).ids
    assert shown(tokenizer, ids) == text
    assert tokenizer.decode(ids) == text


@given(TEXTS)
@example("Füße ÷ 2 À")
@EXACT
def test_letters_among_the_added_tokens_are_letters(text):
    tokenizer = small()
    ids = tokenizer.encode(text)
    assert shown(tokenizer, ids) == tokenizer.decode(ids) == text


def test_halves_of_characters_wait_and_lone_ones_are_marked():
    tokenizer = small()
    ids = tokenizer.encode("€")
    assert len(ids) == 3
    assert shown(tokenizer, ids) == "€"
    assert shown(tokenizer, ids[:2]) == "\ufffd"
    assert shown(tokenizer, [*ids[:1], *tokenizer.encode("a")]) == "\ufffda"
    assert shown(tokenizer, [10**6]) == ""


def test_mlx_lm_gets_the_same_text():
    wrapped = small().for_mlx_lm
    detokenizer = wrapped.detokenizer
    for token in wrapped.encode("  Größe", add_special_tokens=False):
        detokenizer.add_token(token)
    detokenizer.finalize()
    assert detokenizer.text == "  Größe"


@pytest.mark.parametrize(
    ("model_type", "kind"),
    [("llama", "LlamaTokenizerFast"), ("deepseek_v32", "LlamaTokenizer"), ("x", "NoSuchTokenizer")],
)
def test_the_model_type_and_the_class_name_change_nothing(tmp_path, model_type, kind):
    """transformers 5.3 to 5.17 replaced these folders' pre-tokenizer and dropped all blanks."""
    shutil.copy(checkpoint_path() / "tokenizer.json", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": kind, "legacy": True, "add_bos_token": True})
    )
    found, text = load_tokenizer(tmp_path, {"eos_token_id": [1, 5]}), "def f(x):\n    return 2 * x"
    plain = tokenizers.Tokenizer.from_file(str(checkpoint_path() / "tokenizer.json"))
    assert found is not None
    assert found.encode(text) == plain.encode(text, add_special_tokens=False).ids
    wrapped = found.for_mlx_lm
    assert list(wrapped.encode(text, add_special_tokens=False)) == found.encode(text)
    assert found.decode(found.encode(text)) == text
    assert wrapped.eos_token_ids == found.eos_token_ids == {1, 5}


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(CheckpointError, match="Download it again"):
        load_tokenizer(tmp_path, {})
    shutil.copy(checkpoint_path() / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(ConfigError, match="Download it again"):
        load_tokenizer(tmp_path, {})


@given(st.text(max_size=20), st.sampled_from(["<｜User｜>", "</think>", "<｜end▁of▁sentence｜>"]))
@EXACT
def test_special_tokens_that_users_write_are_never_special(tokenizer, text, special):
    content = text + special + text
    rendered = prompts.get("v3_chat").prompt([{"role": "user", "content": content}])
    plain = prompts.get("v3_chat").render_ids(tokenizer, [{"role": "user", "content": content}])
    controls = {tokenizer.token_id(control) for control in tokenizer.controls}
    expected = prompts.get("v3_chat").render_ids(tokenizer, [{"role": "user", "content": ""}])
    assert [i for i in plain if i in controls] == [i for i in expected if i in controls]
    assert tokenizer.decode(plain) == rendered.text


@pytest.mark.parametrize("said", ["Größe ÷ 2", " first", "€", "a\0b", "\ue000", "😀"])
def test_json_may_hold_any_text(said):
    tokenizer = small()
    schema = {"type": "object", "properties": {"a": {"const": said}}}
    written = tokenizer.encode(json.dumps({"a": said}, ensure_ascii=False))
    Grammars(tokenizer).mask({**schema, "required": ["a"]}, Thoughts(), written)


def test_a_file_that_loses_blanks_is_refused(tmp_path):
    """As some releases of transformers 5 save a byte-level tokenizer that is called Llama's."""
    words = {"Ġthe": 0, "how": 1, "are": 2, "<unk>": 3}
    backend = tokenizers.Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    backend.decoder = decoders.ByteLevel()
    backend.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path, {}) is not None
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="loses blanks"):
        load_tokenizer(tmp_path, {})
