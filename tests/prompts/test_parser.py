"""Reading answers: any cut gives the same, and nothing is ever lost."""

import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlx_deepseek import prompts
from mlx_deepseek.prompts import dsml
from mlx_deepseek.prompts.parser import Delta, OutputParser
from mlx_deepseek.prompts.special_tokens import (
    CALL_CLOSE,
    CALL_OPEN,
    CALLS_CLOSE,
    CALLS_OPEN,
    THINK_CLOSE,
    THINK_OPEN,
    TOOL_SEPARATOR,
)
from mlx_deepseek.prompts.tools import BARE, FENCED, ToolCall

MARKERS = [
    THINK_OPEN, THINK_CLOSE, CALLS_OPEN, CALLS_CLOSE, CALL_OPEN, CALL_CLOSE, TOOL_SEPARATOR,
    dsml.CALLS_OPEN, dsml.CALLS_CLOSE, dsml.INVOKE_OPEN, dsml.INVOKE_CLOSE,
    dsml.PARAMETER_OPEN, dsml.PARAMETER_CLOSE,
]  # fmt: skip
MARKUPS = [FENCED, BARE, dsml.MARKUP]
pieces = st.lists(
    st.one_of(
        st.sampled_from(MARKERS),
        st.sampled_from(["<｜tool", "<th", "f", '{"a": 1}', "```json\n", "\n```", " ", "\n"]),
        st.sampled_from([' name="a"', ' string="false"', ">", "<｜DSML", "\n\n"]),
        st.text(max_size=6),
    ),
    max_size=12,
).map("".join)


def read(parts, **options) -> Delta:
    options = {"reasoning": True, "opened": False, "tools": FENCED, **options}
    parser = OutputParser(**options)
    total = Delta()
    for part in parts:
        total += parser.feed(part)
    return total + parser.finish()


@given(
    text=pieces,
    cuts=st.lists(st.integers(0, 200), max_size=8),
    opened=st.booleans(),
    tools=st.sampled_from([None, *MARKUPS]),
)
@example(f"a {THINK_OPEN} b {CALLS_OPEN}c", [3], False, BARE)  # <think> mentioned before calls
def test_any_cut_gives_the_same(text, cuts, opened, tools):
    edges = sorted({0, len(text), *(c for c in cuts if c < len(text))})
    parts = [text[a:b] for a, b in itertools.pairwise(edges)]
    whole = read([text], opened=opened, tools=tools)
    assert read(parts, opened=opened, tools=tools) == whole
    assert read(list(text), opened=opened, tools=tools) == whole


@given(text=pieces, opened=st.booleans())
def test_no_visible_text_is_lost(text, opened):
    delta = read([text], opened=opened, tools=None)
    kept = (delta.reasoning + delta.text).split()
    without = text
    if opened or text.lstrip().startswith(THINK_OPEN):
        without = without.replace(THINK_OPEN, "", 0 if opened else 1)
        without = without.replace(THINK_CLOSE, " ", 1)
    assert "".join(kept) == "".join(without.split())


@pytest.mark.parametrize("markup", [BARE, dsml.MARKUP])
@given(pieces.map(lambda text: text.replace(THINK_OPEN, "").replace(THINK_CLOSE, "")))
def test_malformed_markup_comes_out_whole(markup, text):
    delta = read(list(text), tools=markup)
    if not delta.tool_calls:
        assert delta.text == text.lstrip()


without_markers = st.text().filter(lambda text: not any(m in text for m in MARKERS))


@given(text=without_markers, tools=st.sampled_from(MARKUPS))
def test_text_without_markers_passes_through(text, tools):
    assert read(list(text), tools=tools).text == text.lstrip()


@pytest.mark.parametrize("markup", MARKUPS)
@given(
    names=st.lists(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), min_size=1, max_size=3),
    arguments=st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
)
def test_calls_come_back_as_they_were_written(markup, names, arguments):
    text = json.dumps(arguments, ensure_ascii=False)
    written = arguments if markup.by_value else text
    calls = [{"type": "function", "function": {"name": n, "arguments": written}} for n in names]
    delta = read(list("Sure.\n" + markup.calls(calls)), tools=markup)
    assert delta.tool_calls == tuple(ToolCall(n, text) for n in names)
    assert delta.text.strip() == "Sure."


def test_reasoning_opened_by_the_prompt():
    delta = read(["First,", " add.\n</th", "ink>\n\n", "933"], opened=True)
    assert (delta.reasoning, delta.text) == ("First, add.", "933")


def test_reasoning_opened_by_the_model():
    delta = read(["\n<thi", "nk>\nhm\n</think>", "yes"])
    assert (delta.reasoning, delta.text) == ("hm", "yes")


def test_a_tag_in_the_middle_of_an_answer_is_text():
    delta = read(["The tag <think> opens a block."])
    assert (delta.reasoning, delta.text) == ("", "The tag <think> opens a block.")


def test_reasoning_cut_short_stays_reasoning():
    assert read(["so far"], opened=True) == Delta(reasoning="so far")


def test_calls_inside_the_reasoning_leave_it_open():
    call = BARE.calls([{"function": {"name": "search", "arguments": "{}"}}])
    delta = read(["look it up" + call + "found</think>done"], opened=True, tools=BARE)
    assert delta.tool_calls == (ToolCall("search", "{}"),)
    assert delta.reasoning.split() == ["look", "it", "upfound"]
    assert delta.text == "done"


@pytest.mark.parametrize(
    "broken",
    [
        f"{CALLS_OPEN}{CALL_OPEN}f{TOOL_SEPARATOR}{{not json{CALL_CLOSE}{CALLS_CLOSE}",
        f"{CALLS_OPEN}{CALL_OPEN}no separator{CALL_CLOSE}{CALLS_CLOSE}",
        f"{CALLS_OPEN}{CALL_OPEN}f{TOOL_SEPARATOR}{{",
        f"{CALLS_OPEN}stray words{CALLS_CLOSE}",
        f"{CALLS_OPEN}{CALL_OPEN}f{TOOL_SEPARATOR}3{CALL_CLOSE}{CALLS_CLOSE}",
        f"{CALLS_OPEN}{CALL_OPEN}f{TOOL_SEPARATOR}{'[' * 100_000}{CALL_CLOSE}{CALLS_CLOSE}",
    ],
)
def test_malformed_calls_come_out_as_text(broken):
    delta = read([broken], tools=BARE)
    assert delta == Delta(text=broken)


def test_a_call_without_the_final_marker_counts():
    whole = FENCED.calls([{"function": {"name": "f", "arguments": "{}"}}])
    assert read([whole.removesuffix(CALLS_CLOSE)]).tool_calls == (ToolCall("f", "{}"),)


def test_a_missing_fence_is_forgiven():
    text = f"{CALLS_OPEN}{CALL_OPEN}function{TOOL_SEPARATOR}f\n{{}}{CALL_CLOSE}{CALLS_CLOSE}"
    assert read([text]).tool_calls == (ToolCall("f", "{}"),)


def test_words_and_broken_calls_among_good_ones_are_kept():
    good = f"{CALL_OPEN}f{TOOL_SEPARATOR}{{}}{CALL_CLOSE}"
    bad = f"{CALL_OPEN}g{TOOL_SEPARATOR}{{{CALL_CLOSE}"
    delta = read([f"{CALLS_OPEN}hear {good}\n{bad}{good}{CALLS_CLOSE}end"], tools=BARE)
    assert delta.tool_calls == (ToolCall("f", "{}"), ToolCall("f", "{}"))
    assert delta.text == f"hear {bad}end"


def test_base_models_keep_their_first_blank():
    parser = prompts.get("completion").parser()
    assert parser.feed(" cat") + parser.feed("\n") + parser.finish() == Delta(text=" cat\n")
