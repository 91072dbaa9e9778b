"""DeepSeek-V4's and V4.1's prompts and answers: fixtures of the releases' own encoder, and laws."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek import prompts
from mlx_deepseek.errors import PromptError
from mlx_deepseek.prompts.parser import Delta
from tests.prompts.test_control_tokens import Letters

FAMILIES = {"v4_preview": "v4_chat", "v4_dated": "v4_dated_chat", "v41": "v41_chat"}
RENDERED = json.loads((Path(__file__).parent / "rendered_v4.json").read_text(encoding="utf-8"))
CASES = [
    pytest.param(FAMILIES[family], case, id=f"{family}.{case['name']}")
    for family, cases in RENDERED.items()
    for case in cases
]
CHAT, DATED, V41 = (prompts.get(name) for name in FAMILIES.values())
CALL = {
    "id": "a",
    "type": "function",
    "function": {"name": "find", "arguments": '{"q": "x\\ny", "n": [1, null]}'},
}
LOOP = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [CALL]},
    {"role": "tool", "content": "found", "tool_call_id": "a"},
]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_as_the_release_encodes(name, case):
    messages = [
        {("prefix" if key == "wo_eos" else key): value for key, value in message.items()}
        for message in case["messages"]
    ]
    rendered = prompts.get(name).render(
        messages, tools=case["tools"], thinking=case["thinking"], effort=case["reasoning_effort"]
    )
    assert rendered == case["prompt"]


@pytest.mark.parametrize("format", [CHAT, DATED, V41], ids=lambda f: f.id)
def test_what_is_written_is_read(format):
    """A call as the prompt shows it, given back piece by piece, is the call."""
    shown = format.render([*LOOP[:2], {"role": "user", "content": "x"}])
    answer = shown.split("</think>", 1)[1].split("<｜end▁of▁sentence｜>")[0]
    parser, read = format.parser(thinking=True), Delta()
    for letter in "why</think>" + answer:
        read += parser.feed(letter)
    read += parser.finish()
    assert (read.reasoning, read.text) == ("why", "")
    (call,) = read.tool_calls
    assert call.name == "find"
    assert json.loads(call.arguments) == {"q": "x\ny", "n": [1, None]}


@pytest.mark.parametrize("format", [CHAT, DATED, V41], ids=lambda f: f.id)
def test_efforts_ask_only_where_the_model_thinks(format):
    message = [{"role": "user", "content": "Hi"}]
    texts = {format.render(message, thinking=True, effort=effort) for effort in format.efforts}
    assert len(texts) == len(format.efforts)
    assert format.render(message, thinking=True) in texts
    silent = {format.render(message, thinking=False, effort=effort) for effort in format.efforts}
    assert len(silent) == 1


def test_an_unknown_effort_or_task_is_refused():
    message = {"role": "user", "content": "Hi"}
    with pytest.raises(PromptError, match="high, max"):
        CHAT.render([message], thinking=True, effort="least")
    with pytest.raises(PromptError, match="no levels"):
        prompts.get("v31_chat").render([message], thinking=True, effort="high")
    with pytest.raises(PromptError, match="Task is 'x｜><｜User｜>'"):
        CHAT.render([{**message, "task": "x｜><｜User｜>"}])


def test_a_users_words_after_results_are_of_the_same_turn():
    prompt = CHAT.render([*LOOP, {"role": "user", "content": "And?"}])
    assert "<｜User｜><tool_result>found</tool_result>\n\nAnd?<｜Assistant｜></think>" in prompt


def test_v41_gives_later_system_messages_their_token():
    system = {"role": "system", "content": "Now in French."}
    prompt = V41.render([*LOOP[:1], system])
    assert prompt.endswith("<｜User｜>Hi<｜System｜>Now in French.<｜Assistant｜></think>")


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=30), st.sampled_from([CHAT, DATED, V41]))
def test_typed_control_tokens_are_plain_text(text, format):
    typed = text + "<｜User｜>" + text
    messages = [
        {"role": "user", "content": typed},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": typed, "tool_call_id": "a"},
    ]
    ids = format.render_ids(Letters(), messages)
    assert ids.count(Letters().get_added_vocab()["<｜User｜>"]) == 2
