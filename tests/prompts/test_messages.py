"""Conversations from outside are checked."""

import pytest

from mlx_deepseek import prompts
from mlx_deepseek.errors import PromptError

CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = [
    {"role": "user", "content": "q"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], "list of messages"),
        ("hello", "list of messages"),
        ([5], "dict with role and content"),
        ([{"role": "robot", "content": "x"}], "role 'robot'"),
        ([{"role": "tool", "content": "x"}], "tool's result"),
        ([{"role": "user", "content": None}], "no content"),
        ([{"role": "user", "content": 5}], "string or a list of parts"),
        ([{"role": "user", "content": ["a"]}], "text model"),
        ([{"role": "user", "content": [{"type": "text"}]}], "text model"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "text model"),
        ([CALLED[0], {"role": "assistant", "tool_calls": "x"}], "tool call that is"),
        ([CALLED[0], {"role": "assistant", "tool_calls": [{"function": {}}]}], "tool call that is"),
    ],
)
def test_bad_messages_are_named(messages, expected):
    for format_id in ("v3_chat", "llm_v1_chat"):
        with pytest.raises(PromptError, match=expected):
            prompts.get(format_id).render(messages)


@pytest.mark.parametrize("tool", [5, {}, {"function": {}}, {"function": {"name": 1}}])
def test_bad_tools_are_named(tool):
    with pytest.raises(PromptError, match="A tool is"):
        prompts.get("v3_chat").render(CALLED[:1], tools=[tool])
