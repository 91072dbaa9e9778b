"""Answers that were cut off are gone on with, in every format."""

import pytest

from mlx_deepseek import prompts
from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.parser import Delta
from mlx_deepseek.prompts.prefix_completion import split

CHATS = [f for f in prompts.FORMATS.values() if f.supports_chat and f.id != "r1_zero"]
ASKED = {"role": "user", "content": "Why?"}


def answer(said="", thought=""):
    return {"role": "assistant", "content": said, "reasoning_content": thought, "prefix": True}


@pytest.mark.parametrize("format", CHATS, ids=lambda format: format.id)
@pytest.mark.parametrize("thinking", [True, False])
def test_the_prompt_goes_on_where_the_answer_ended(format, thinking):
    fresh = format.render([ASKED], thinking=thinking)
    assert format.render([ASKED, answer()], thinking=thinking) == fresh
    said = format.render([ASKED, answer("Bec")], thinking=thinking)
    assert said.startswith(fresh)
    assert said.endswith("Bec")
    unmarked = {"role": "assistant", "content": "Bec"}
    assert split([ASKED, unmarked]) == ([ASKED, unmarked], None)


@pytest.mark.parametrize("format", CHATS, ids=lambda format: format.id)
@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize(
    ("before", "rest", "left"),
    [
        (("", "Let me"), " see.</think>Because.", Delta(" see.", "Because.")),
        (("Bec", "Let me see."), "ause <think>.", Delta("", "ause <think>.")),
        (("a <", ""), " b", Delta("", " b")),
        (("Bec", ""), " a", Delta("", " a")),
    ],
)
def test_only_what_is_new_is_read(format, thinking, before, rest, left):
    if before == ("", "Let me") and not format.thinks(thinking):
        pytest.skip("it does not think")
    parser = format.parser(prompt=format.prompt([ASKED, answer(*before)], thinking=thinking))
    assert parser.feed(rest) + parser.finish() == left


def test_the_ends_of_reasoning_are_written_as_each_model_writes_them():
    def ending(name, *parts):
        return prompts.get(name).render([ASKED, answer(*parts)], thinking=True).split("Why?")[1]

    begun = ("Bec", "Let me")
    assert ending("r1_chat", *begun) == "<｜Assistant｜><think>\nLet me\n</think>\n\nBec"
    assert ending("r1_0528_chat", *begun) == "<｜Assistant｜><think>\nLet me\n</think>\n\nBec"
    assert ending("v31_chat", *begun) == "<｜Assistant｜><think>Let me</think>Bec"
    assert ending("v3_chat", *begun) == "<｜Assistant｜>Bec"


def test_an_answer_to_nothing_is_refused():
    with pytest.raises(PromptError, match="Expected a user's message"):
        prompts.get("v32_chat").render([answer("x")])
