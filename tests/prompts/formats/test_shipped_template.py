"""Chat templates that checkpoints ship: special tokens, parts, pictures, and where they stand."""

import json
import shutil

import pytest

from mlx_deepseek import load, prompts
from mlx_deepseek.catalog.embedded import checkpoint_path
from mlx_deepseek.checkpoint.tokenizer import tokenizer_config
from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.special_tokens import BOS

PATH = {"type": "image", "image": "a.png"}
SEEN = [{"role": "user", "content": [PATH, {"type": "text", "text": "What?"}]}]
BLIND = [{"role": "user", "content": "What?"}]
# Templates of models that see, as fine-tunes write them.
PART = "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}"
TURN = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]"
STRINGS = TURN + (
    "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    + PART
    + "{% endfor %}{% endif %}{% endfor %}[assistant]"
)
PARTS = TURN + "{% for part in m.content %}" + PART + "{% endfor %}{% endfor %}[assistant]"
PICTURES_FIRST = TURN + (
    "{% for part in m['content'] | selectattr('type', 'equalto', 'image') %}<image>{% endfor %}"
    "{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}"
    "{% endfor %}{% endfor %}[assistant]"
)
QWEN = TURN + (
    "{% for part in m['content'] %}{% if part['type'] == 'image' or 'image_url' in part %}<image>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}[assistant]"
)
SEEING = [STRINGS, PARTS, PICTURES_FIRST, QWEN]


def tuned(source, architecture="deepseek_vl2", **settings):
    settings = {"chat_template": source, **settings}
    return prompts.for_checkpoint({}, settings, "somebody/tuned", architecture)


@pytest.mark.parametrize("architecture", ["deepseek_vl", "deepseek_vl2", "janus", "janusflow"])
@pytest.mark.parametrize("source", SEEING)
def test_no_word_and_no_picture_is_lost(source, architecture):
    """Templates that walk through parts would walk through a string's letters."""
    found = tuned(source, architecture)
    assert found.render(BLIND).endswith("[user]What?[assistant]")
    shown = found.prompt(SEEN)
    assert shown.text.count("<image>") == len(shown.pictures) == 1
    assert "What?" in shown.text
    answered = [*SEEN, {"role": "assistant", "content": "That."}, *BLIND]
    rendered = found.render(answered)
    assert [rendered.count(text) for text in ("What?", "That.", "[user]")] == [2, 1, 2]


def test_pictures_stand_where_they_were_put():
    text = [{"type": "text", "text": word} for word in ("one", "two", "three")]
    asked = [{"role": "user", "content": [text[0], PATH, text[1], PATH, text[2]]}]
    for source in (STRINGS, PARTS, QWEN):
        assert "one<image>two<image>three" in tuned(source).render(asked)


@pytest.mark.parametrize("source", SEEING)
def test_a_picture_s_token_that_a_user_writes_is_text(source):
    shown = tuned(source).prompt([{"role": "user", "content": "<image>"}], ["<image>"])
    assert "<image>" not in shown.text
    assert shown.pictures == ()


@pytest.mark.parametrize("source", [STRINGS, PARTS])
def test_answers_are_gone_on_with(source):
    begun = [*SEEN, {"role": "assistant", "content": "A ca", "prefix": True}]
    assert tuned(source).render(begun).endswith("[assistant]A ca")


def test_parts_of_text_models_are_read_the_same_way():
    found = prompts.for_checkpoint({}, {"chat_template": PARTS}, "somebody/tuned", "llama")
    assert found.render(BLIND).endswith("[user]What?[assistant]")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, BOS),
        ({"bos_token": "<s>"}, "<s>"),
        ({"bos_token": {"content": "<s>", "__type": "AddedToken"}}, "<s>"),
        ({"bos_token": None}, ""),
    ],
)
def test_special_tokens_are_the_checkpoint_s(settings, expected):
    source = "{{ bos_token }}[user]{{ messages[0].content }}"
    found = prompts.for_checkpoint({}, {"chat_template": source, **settings}, "a/b", "llama")
    assert found.render(BLIND) == f"{expected}[user]What?"


def test_templates_are_found_wherever_they_are_kept(tmp_path):
    def found(name, content, **settings):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "tokenizer_config.json").write_text(json.dumps({"a": 1, **settings}))
        if name.startswith("chat_template"):
            (folder / name).write_text(content)
        return prompts.formats.shipped_template.template_source(tokenizer_config(folder))

    assert found("inside", "", chat_template="T") == "T"
    named = [{"name": "tool_use", "template": "U"}, {"name": "default", "template": "T"}]
    assert found("named", "", chat_template=named) == "T"
    assert found("chat_template.jinja", "T", chat_template="old") == "T"
    assert found("chat_template.json", json.dumps({"chat_template": "T"})) == "T"
    assert found("none", "") is None


def test_a_template_that_shows_no_picture_is_refused_with_one(tmp_path):
    """Half of a question would be answered otherwise."""
    folder = tmp_path / "ocr"
    shutil.copytree(checkpoint_path("nano-ocr"), folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    blind = "{{ bos_token }}{# image #}{% for m in messages %}{{ m.content }}{% endfor %}"
    settings["chat_template"] = blind.replace("m.content", "m.content[-1].text")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    from PIL import Image

    with pytest.raises(PromptError, match="picture"):
        load(folder).generate("Free OCR.", images=[Image.new("RGB", (64, 64))], max_tokens=1)
