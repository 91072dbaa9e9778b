"""The parser starts where the rendered prompt ends, in every format; near-miss calls are read."""

import pytest

from mlx_deepseek import prompts
from mlx_deepseek.prompts.parser import Delta
from mlx_deepseek.prompts.special_tokens import (
    BOS,
    CALL_CLOSE,
    CALL_OPEN,
    CALLS_CLOSE,
    CALLS_OPEN,
    DSML,
    THINK_CLOSE,
    THINK_OPEN,
    TOOL_SEPARATOR,
)
from mlx_deepseek.prompts.tools import ToolCall

CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKED = [{"role": "user", "content": "q"}]
CALLED = [
    *ASKED,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "content": "R<think>"},
]
CHATS = [f for f in prompts.FORMATS.values() if f.supports_chat and f.id != "r1_zero"]


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("format", CHATS, ids=lambda format: format.id)
def test_reasoning_is_what_the_prompt_opened(format, thinking):
    for messages in [ASKED, CALLED] if format.supports_tools else [ASKED]:
        prompt = format.prompt(messages, thinking=thinking)
        assert prompt.text.count(BOS) == 1
        opened = format.render(messages, thinking=thinking).rstrip().endswith(THINK_OPEN)
        delta = format.parser(prompt=prompt).feed("It is sunny.")
        assert delta == (Delta("It is sunny.") if opened else Delta(text="It is sunny."))


def states(format):
    """Conversations that end in every state that a format knows, by name."""
    call = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    result, thought = {"role": "tool", "content": "R"}, {"reasoning_content": "so"}
    said = {"role": "assistant", "content": "yes"}
    round_ = [*ASKED, call, result]
    yield "asked", ASKED
    yield "asked again", [*ASKED, said, *ASKED]
    yield "asked again, thought before", [*ASKED, said | thought, *ASKED]
    if format.supports_system:
        yield "told and asked", [{"role": "system", "content": "s"}, *ASKED]
    if format.supports_tools:
        yield "after a result", round_
        yield "after two results", [*ASKED, call | {"tool_calls": [CALL, CALL]}, result, result]
        yield "after two rounds", [*round_, call, result]
        yield "asked after a round", [*round_, said, *ASKED]
        yield "called with thought", [*ASKED, call | thought, result]
        yield "gone on with after a result", [*round_, said | {"prefix": True}]
    yield "gone on with", [*ASKED, said | {"prefix": True}]
    yield "gone on with, thought", [*ASKED, said | thought | {"prefix": True}]
    if format.supports_thinking:
        only = {"role": "assistant", "content": "", "prefix": True} | thought
        yield "thought gone on with", [*ASKED, only]


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("format", CHATS, ids=lambda format: format.id)
def test_in_every_state_an_answer_goes_where_the_prompt_left_off(format, thinking):
    for state, messages in states(format):
        prompt = format.prompt(format.relevant(messages), thinking=thinking)
        assert prompt.text.count(BOS) == 1, state
        inside = prompt.text.rfind(THINK_OPEN) > prompt.text.rfind(THINK_CLOSE)
        delta = format.parser(prompt=prompt).feed("Sunny.")
        assert delta == (Delta("Sunny.") if inside else Delta(text="Sunny.")), state
        if inside:
            whole = format.parser(prompt=prompt).feed(f"Sun{THINK_CLOSE}Sunny.")
            assert (whole.reasoning, whole.text) == ("Sun", "Sunny."), state


@pytest.mark.parametrize("name", ["v31_chat", "v31_terminus_chat", "v32exp_chat"])
def test_after_a_result_v31_answers(name):
    format = prompts.get(name)
    prompt = format.prompt(CALLED, thinking=True)
    assert format.parser(prompt=prompt).feed("It is sunny.") == Delta(text="It is sunny.")
    assert format.parser(True).feed("so</think>yes") == Delta("so", "yes")


def read(name: str, text: str) -> Delta:
    parser = prompts.get(name).parser(False)
    total = Delta()
    for letter in text:
        total += parser.feed(letter)
    return total + parser.finish()


FENCE = 'f\n```json\n{"a": 1}\n```'
V32_PLAIN = '<function_calls>\n<invoke name="f">\n{}\n</invoke>\n</function_calls>'
A = ToolCall("f", '{"a": 1}')


@pytest.mark.parametrize(
    ("name", "written", "call"),
    [
        ("v31_chat", f"{CALLS_OPEN}{CALL_OPEN}function{TOOL_SEPARATOR}{FENCE}{CALL_CLOSE}", A),
        ("v31_chat", f"{CALLS_OPEN}{CALL_OPEN}f{TOOL_SEPARATOR}{CALL_CLOSE}", ToolCall("f", "{}")),
        ("v31_chat", f'{CALL_OPEN}f{TOOL_SEPARATOR}{{"a": 1}}{CALL_CLOSE}', A),
        (
            "v31_chat",
            f'{CALLS_OPEN}{CALL_OPEN}f{TOOL_SEPARATOR}```json\n{{"a": 1}}\n```{CALL_CLOSE}',
            A,
        ),
        ("v31_chat", f'{CALLS_OPEN}{CALL_OPEN}f{TOOL_SEPARATOR}"{{\\"a\\": 1}}"{CALL_CLOSE}', A),
        ("r1_0528_chat", f"{CALL_OPEN}function{TOOL_SEPARATOR}{FENCE}{CALL_CLOSE}{CALLS_CLOSE}", A),
        ("r1_0528_chat", f"{CALL_OPEN}function{TOOL_SEPARATOR}{FENCE}{CALL_CLOSE}", A),
        ("v3_chat", f'{CALLS_OPEN}{CALL_OPEN}f{TOOL_SEPARATOR}{{"a": 1}}{CALL_CLOSE}', A),
        (
            "v3_chat",
            f"{CALLS_OPEN}{CALL_OPEN}function{TOOL_SEPARATOR}f\n```json\n```{CALL_CLOSE}",
            ToolCall("f", "{}"),
        ),
        (
            "v3_chat",
            f"{CALLS_OPEN}{CALL_OPEN}function{TOOL_SEPARATOR}f{CALL_CLOSE}",
            ToolCall("f", "{}"),
        ),
        ("v32_chat", V32_PLAIN.format('{"a": 1}'), A),
        ("v32_chat", V32_PLAIN.format('<parameter name="a">1</parameter>'), A),
        (
            "v32_chat",
            V32_PLAIN.format('<parameter name="a" string="true">x y</parameter>'),
            ToolCall("f", '{"a": "x y"}'),
        ),
        (
            "v32_chat",
            f'<{DSML}function_calls>\n<{DSML}invoke name="f">\n{{"a": 1}}\n</{DSML}invoke>\n'
            f"</{DSML}function_calls>",
            A,
        ),
        ("v32_chat", V32_PLAIN.format(""), ToolCall("f", "{}")),
    ],
)
def test_calls_that_are_nearly_right_are_read(name, written, call):
    assert read(name, written).tool_calls == (call,)


def test_what_only_looks_like_a_call_stays_text():
    for text in ("<function_calls> opens a block.", V32_PLAIN.format("stray words")):
        assert read("v32_chat", text) == Delta(text=text)
