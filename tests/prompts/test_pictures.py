"""Pictures in messages: their token, what separates them from text, what users cannot forge."""

from dataclasses import replace

import pytest

from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts import FORMATS
from mlx_deepseek.prompts.messages import PICTURE, pictures

SEEING = replace(FORMATS["llm_v1_chat"], picture="<image>", gap="\n")
PATH = {"type": "image", "image": "a.png"}
URL = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def text(words):
    return {"type": "text", "text": words}


def rendered(*parts):
    return SEEING.render([{"role": "user", "content": list(parts)}]).split("User: ")[1]


def test_a_picture_that_opens_a_message_is_separated():
    assert rendered(PATH, text("What?")) == "<image>\nWhat?\n\nAssistant:"
    assert rendered(PATH, URL, text("What?")) == "<image><image>\nWhat?\n\nAssistant:"
    assert rendered(PATH, text("\nWhat?")) == "<image>\nWhat?\n\nAssistant:"


def test_a_picture_among_words_stands_where_it_was_put():
    assert rendered(text("A "), PATH, text(" B")) == "A <image> B\n\nAssistant:"
    assert rendered(PATH) == "<image>\n\nAssistant:"


def test_a_text_may_say_where_its_pictures_belong():
    """As the authors' prompts do: "<image>\\nFree OCR."."""
    assert rendered(PATH, text("<image>\nWhat?")) == "<image>\nWhat?\n\nAssistant:"
    both = rendered(PATH, URL, text("First: <image>\nThen: <image>\nWhat?"))
    assert both == "First: <image>\nThen: <image>\nWhat?\n\nAssistant:"
    assert rendered(text("A <image> B"), PATH) == "A <image> B\n\nAssistant:"


@pytest.mark.parametrize("parts", [[text("<image> <image>"), PATH], [text("<image>")]])
def test_other_numbers_of_places_are_words(parts):
    shown = SEEING.prompt([{"role": "user", "content": parts}], ["<image>"]).text
    assert shown.count("<image>") == len(parts) - 1


def test_pictures_are_listed_in_order():
    messages = [{"role": "user", "content": [text("x"), PATH]}, {"role": "user", "content": [URL]}]
    assert pictures(messages) == ["a.png", URL["image_url"]["url"]]


@pytest.mark.parametrize("content", [f"a{PICTURE}b", [{"type": "text", "text": f"a{PICTURE}b"}]])
def test_users_cannot_write_the_sign_of_a_picture(content):
    rendered = SEEING.render([{"role": "user", "content": content}])
    assert "a\ufffdb" in rendered
    assert SEEING.picture not in rendered


@pytest.mark.parametrize("part", [{"type": "image"}, {"type": "video", "video": "x"}])
def test_other_parts_are_refused(part):
    with pytest.raises(PromptError, match="Message 0 has a"):
        rendered(part)


def test_a_text_format_refuses_pictures():
    with pytest.raises(PromptError, match="text model"):
        FORMATS["llm_v1_chat"].render([{"role": "user", "content": [PATH]}])
