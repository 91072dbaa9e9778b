"""Tools and JSON answers: from the settings to the engine, from calls to messages and cards."""

import html
import re

import pytest

from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.results import Usage
from mlx_deepseek.prompts.tools import ToolCall
from mlx_deepseek_app.chat.transcript import card, rows
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.tools_json import response_format, results, tool_list
from tests.app.scripted import Chunk

CALL = ToolCall("weather", '{"city": "Oslo"}')


def called(*calls: ToolCall) -> Conversation:
    chunks = [(0.1, Chunk(reasoning="hm", tool_calls=calls, usage=Usage(reasoning_tokens=1234)))]
    return Conversation().ask("How is it?").write(chunks).finish()


def test_settings_become_options():
    assert response_format(False, "broken {") is None
    assert response_format(True, " ") == {"type": "json_object"}
    wanted = response_format(True, '{"type": "object"}')
    assert wanted == {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
    assert tool_list("") is None
    assert tool_list('[{"name": "f"}]') == [{"name": "f"}]


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_a_schema_that_is_no_object_is_explained(text):
    with pytest.raises(PromptError, match=r"schema under Settings.*Expected a JSON object"):
        response_format(True, text)


@pytest.mark.parametrize("text", ["[", "{}", "weather"])
def test_tools_that_are_no_list_are_explained(text):
    with pytest.raises(PromptError, match=r"tools under Settings.*Expected a JSON list"):
        tool_list(text)


def test_the_next_message_is_what_the_tool_gave():
    talk = called(CALL).ask("4 degrees")
    _, asked, reply, result = talk.prompt("sys")
    assert asked == {"role": "user", "content": "How is it?"}
    assert reply["tool_calls"][0]["function"] == {"name": "weather", "arguments": CALL.arguments}
    assert result == {"role": "tool", "tool_call_id": "call_0", "content": "4 degrees"}


def test_several_calls_take_a_list_or_share_a_text():
    two = (CALL, CALL)
    assert [one["content"] for one in results(two, '["cold", {"c": 4}]')] == ["cold", '{"c": 4}']
    for shared in ("cold", '["one"]', "{}"):
        assert [one["content"] for one in results(two, shared)] == [shared, shared]
    assert results((CALL,), '["a"]')[0]["content"] == '["a"]'


def test_a_call_is_a_card_and_says_what_comes_next():
    shown, owners = rows(called(CALL))
    assert shown[-2]["metadata"] == {"title": "Calls weather"}
    text = html.unescape(re.sub("<.*?>", "", shown[-2]["content"][0]["text"]))
    assert '"city": "Oslo"' in text
    assert "next message" in shown[-1]["content"][0]["text"]
    assert owners[-1] == 1
    asked, _ = rows(called(CALL).ask("4 degrees").finish())
    titles = [row["metadata"].get("title") for row in asked]
    assert "Result of weather" in titles
    assert not any("next message" in row["content"][0]["text"] for row in asked)


@pytest.mark.parametrize("arguments", ["```\n<img src=x>", '{"a": "````"}', "<script>", "not JSON"])
def test_no_arguments_leave_their_card(arguments):
    shown = re.sub("</?(div|pre|code|span|button)[^>]*>", "", card(ToolCall("f", arguments)))
    assert "<" not in shown
    assert "\n" not in shown  # an empty line would end it


def test_the_thinking_tells_its_tokens():
    titles = [row["metadata"].get("title", "") for row in rows(called(CALL))[0]]
    assert any(title.endswith(" · 1,234 tokens") for title in titles)
