"""Calls in pieces: the same calls as when they are read whole, as soon as they are written."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek import prompts
from mlx_deepseek.prompts.parser import Delta, OutputParser
from mlx_deepseek.prompts.tools import ToolCall
from tests.prompts import test_states

FORMATS = ("v25_chat", "v3_chat", "r1_0528_chat", "v31_chat", "v32_chat", "v4_chat", "v41_chat")
NEARLY_RIGHT = next(
    mark.args[1]
    for mark in test_states.test_calls_that_are_nearly_right_are_read.pytestmark
    if mark.name == "parametrize"
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
    lambda text: "｜" not in text
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
names = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
calls = st.lists(
    st.tuples(names, st.dictionaries(names, values, max_size=3)), min_size=1, max_size=3
)


def in_pieces(name: str, parts: list[str]) -> Delta:
    parser = OutputParser(tools=prompts.get(name).tools, in_pieces=True)
    total = Delta()
    for part in parts:
        total += parser.feed(part)
    return total + parser.finish()


def joined(delta: Delta) -> tuple[ToolCall, ...]:
    """The calls that pieces make."""
    found: list[ToolCall] = []
    for piece in delta.call_pieces:
        if piece.name:
            found.append(ToolCall(piece.name, ""))
        last = found.pop()
        found.append(ToolCall(last.name, last.arguments + piece.arguments))
    return tuple(found)


def written(name: str, asked) -> str:
    markup = prompts.get(name).tools
    return markup.calls(
        [
            {
                "type": "function",
                "function": {
                    "name": function,
                    "arguments": given_to if markup.by_value else json.dumps(given_to),
                },
            }
            for function, given_to in asked
        ]
    )


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=40)
@given(calls, st.lists(st.integers(0, 400), max_size=6))
def test_any_cut_gives_the_calls_that_are_read_whole(name, asked, cuts):
    text = "Let me see." + written(name, asked)
    whole = OutputParser(tools=prompts.get(name).tools)
    expected = whole.feed(text) + whole.finish()
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for parts in ([text[a:b] for a, b in itertools.pairwise(edges)], list(text)):
        delta = in_pieces(name, parts)
        assert joined(delta) == expected.tool_calls
        assert delta.text == expected.text
        assert delta.tool_calls == ()
    assert [(c.name, json.loads(c.arguments)) for c in joined(delta)] == asked


@pytest.mark.parametrize("name", FORMATS)
def test_arguments_come_as_they_are_written(name):
    text = written(name, [("write", {"text": "one two three", "n": [1, 2]})])
    parser = OutputParser(tools=prompts.get(name).tools, in_pieces=True)
    before, after = text[: text.index("two")], text[text.index("two") :]
    assert joined(parser.feed(before)) == (ToolCall("write", '{"text": "one '),)
    last = parser.feed(after)
    assert "".join(piece.arguments for piece in last.call_pieces) == 'two three", "n": [1, 2]}'


@pytest.mark.parametrize(("name", "markup", "call"), NEARLY_RIGHT)
def test_calls_that_are_nearly_right_come_in_pieces(name, markup, call):
    for parts in ([markup], list(markup)):
        assert joined(in_pieces(name, parts)) == (call,)


@pytest.mark.parametrize("name", FORMATS)
def test_a_call_that_is_cut_off_stays_a_call(name):
    text = written(name, [("write", {"text": "one two three"})])
    delta = in_pieces(name, list(text[: text.index("three")]))
    assert joined(delta) == (ToolCall("write", '{"text": "one two '),)
    assert delta.text == ""


def test_what_only_looks_like_a_call_stays_text():
    stray = test_states.V32_PLAIN.format("stray words")
    for text in ("<function_calls> opens a block.", stray):
        assert in_pieces("v32_chat", list(text)) == Delta(text=text)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=60)
@given(st.text(st.sampled_from('{}"`\n< ｜/fj:1'), max_size=30))
def test_no_markup_ends_in_an_error(name, body):
    text = written(name, [("f", {"a": "Q"})]).replace("Q", body, 1)
    for cut in (text, text[: len(text) // 2]):
        whole, letters = in_pieces(name, [cut]), in_pieces(name, list(cut))
        assert joined(whole) == joined(letters)
        assert whole.text == letters.text
