"""Conversations: kept cache, regenerate, edit, stopping half-way, errors."""

import pytest

from mlx_deepseek import Engine, load
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.results import as_message
from mlx_deepseek.prompts.tools import ToolCall

FIRST, SECOND = "What is 347 + 586?", "Sort 42, 7, 93 from largest to smallest."


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load("nano")


def roles(chat) -> list[str]:
    return [message["role"] for message in chat.messages]


def test_turns_are_kept_and_the_second_starts_from_the_cache(engine):
    engine._caches.snapshots.idle.clear()
    chat = engine.chat(max_tokens=40)
    first = chat.say(FIRST)
    second = chat.say(SECOND)
    assert roles(chat) == ["user", "assistant"] * 2
    assert chat.messages[1] == first.message
    assert first.usage.cached_tokens == 0
    # The format drops reasoning from history, so the first answer is read again; and the MTP
    # layer reads the last shared token again, with what follows it now.
    assert first.usage.prompt_tokens - 3 <= second.usage.cached_tokens
    assert second.usage.cached_tokens < second.usage.prompt_tokens


def test_a_chat_says_what_the_engine_says_without_a_cache(engine):
    chat = engine.chat(max_tokens=40)
    chat.say(FIRST)
    answer = chat.say(SECOND)
    engine._caches.snapshots.idle.clear()
    fresh = engine.generate(chat.messages[:3], max_tokens=40)
    assert (answer.reasoning, answer.text) == (fresh.reasoning, fresh.text)


def test_chats_share_what_they_have_in_common(engine):
    engine._caches.snapshots.idle.clear()
    one, two = engine.chat(max_tokens=20), engine.chat(max_tokens=20)
    first = one.say(FIRST)
    same = two.say(FIRST)
    assert first.usage.cached_tokens == 0
    assert same.usage.cached_tokens == same.usage.prompt_tokens - 1
    assert same.reasoning == first.reasoning


def test_system_prompt_comes_first_and_survives_a_reset(engine):
    chat = engine.chat(system="Answer in Chinese.", max_tokens=5)
    chat.say(FIRST)
    assert chat.messages[0] == {"role": "system", "content": "Answer in Chinese."}
    chat.reset()
    assert roles(chat) == ["system"]


def test_regenerate_answers_the_same_question_again(engine):
    chat = engine.chat(max_tokens=40)
    chat.say(FIRST)
    before = list(chat.messages)
    again = chat.regenerate()
    assert chat.messages == before
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 1
    with pytest.raises(PromptError, match="not a user's"):
        engine.chat().regenerate()


def test_edit_replaces_a_message_and_drops_what_followed(engine):
    chat = engine.chat(max_tokens=20)
    chat.say(FIRST)
    chat.say(SECOND)
    chat.edit(0, "What is 1 + 2?")
    assert roles(chat) == ["user", "assistant"]
    assert chat.messages[0]["content"] == "What is 1 + 2?"
    with pytest.raises(PromptError, match="not a user's"):
        chat.edit(1, "no")


def test_a_closed_stream_keeps_what_was_written(engine):
    chat = engine.chat(max_tokens=60)
    stream, seen = chat.stream(FIRST), ""
    for chunk in stream:
        seen += chunk.reasoning
        if len(seen) > 5:
            stream.close()
    assert roles(chat) == ["user", "assistant"]
    assert chat.messages[1]["reasoning_content"] == seen
    following = chat.say(SECOND)
    fresh = engine.chat(max_tokens=60)
    fresh.messages = chat.messages[:2]
    assert fresh.say(SECOND).message == following.message


def test_a_stream_closed_before_the_first_word_leaves_no_trace(engine):
    chat = engine.chat()
    chat.stream(FIRST).close()
    stream = chat.stream("one two three " * 45)
    assert next(stream).usage.completion_tokens == 0  # still reading
    stream.close()
    assert chat.messages == []


def test_an_error_leaves_the_conversation_as_it_was(engine):
    chat = engine.chat(max_tokens=5)
    chat.say(FIRST)
    before = list(chat.messages)
    with pytest.raises(PromptError, match="context window"):
        chat.say("again and " * 600)
    assert chat.messages == before
    assert chat.say(SECOND).usage.completion_tokens == 5


def test_a_new_turn_ends_the_one_that_is_open(engine):
    chat = engine.chat(max_tokens=60)
    stream = chat.stream(FIRST)
    while not next(stream).reasoning:
        pass
    chat.say(SECOND)
    assert next(stream, None) is None
    assert roles(chat) == ["user", "assistant"] * 2


def test_options_of_the_chat_and_of_one_turn(engine):
    chat = engine.chat(max_tokens=4)
    assert chat.say(FIRST).usage.completion_tokens == 4
    assert chat.say(FIRST, max_tokens=6).usage.completion_tokens == 6
    assert chat.say(FIRST).usage.completion_tokens == 4


def test_tool_calls_in_the_apis_shape():
    message = as_message("", "", (ToolCall("add", '{"a": 1}'), ToolCall("now", "{}")))
    assert [call["id"] for call in message["tool_calls"]] == ["call_0", "call_1"]
    assert message["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert "reasoning_content" not in message
