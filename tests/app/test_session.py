"""The conversation as a value."""

import pytest

from mlx_deepseek_app.session import Conversation, rows
from tests.app.scripted import Chunk


def answered(conversation, text="fine", reasoning=""):
    chunks = [(0.5, Chunk(reasoning=reasoning)), (2.0, Chunk(text=text))]
    return conversation.write(chunks).finish()


def test_a_reply_is_written_and_sent_back_with_its_reasoning():
    talk = answered(Conversation().ask("hello"), "Hi.", "They greet.").ask("more")
    assert talk.messages("Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Hi.", "reasoning_content": "They greet."},
        {"role": "user", "content": "more"},
    ]


def test_thinking_is_open_until_the_answer_starts_and_then_says_how_long():
    thinking = Conversation().ask("hello").write([(1.5, Chunk(reasoning="Hm"))])
    assert rows(thinking)[0][1]["metadata"] == {"title": "Thinking", "status": "pending"}
    writing = thinking.write([(1.75, Chunk(text="Hi"))])
    expected = {"title": "Thought", "status": "done", "duration": 1.8}
    assert rows(writing)[0][1]["metadata"] == expected
    assert rows(writing.finish())[0][1]["metadata"] == expected


def test_retry_and_edit_drop_what_followed():
    talk = answered(answered(Conversation().ask("one")).ask("two"))
    again = talk.retry(1)
    assert [turn.text for turn in again.turns] == ["one", ""]
    edited = talk.edit(2, "deux")
    assert [turn.text for turn in edited.turns] == ["one", "fine", "deux", ""]
    assert [turn.text for turn in talk.turns] == ["one", "fine", "two", "fine"]
    with pytest.raises(ValueError, match="own messages"):
        talk.edit(1, "x")


def test_a_failed_exchange_is_shown_but_not_sent():
    talk = Conversation().ask("one").finish(error="no memory").ask("two")
    assert talk.messages() == [{"role": "user", "content": "two"}]
    shown, owners = rows(talk)
    assert [row["role"] for row in shown] == ["user", "assistant", "user"]
    assert shown[1]["content"][0]["text"] == "⚠️ **No answer.** no memory"
    assert owners == [0, 1, 2]


@pytest.mark.parametrize(
    ("end", "note"),
    [
        ({"stopped": True}, "*Stopped.*"),
        ({}, "*The model answered with nothing.*"),
    ],
)
def test_an_empty_reply_says_why(end, note):
    shown, _ = rows(Conversation().ask("x").finish(**end))
    assert shown[-1]["content"][0]["text"] == note


def test_a_reply_cut_off_by_the_limit_says_so():
    talk = Conversation().ask("x").write([(0.1, Chunk(text="a", finish_reason="length"))]).finish()
    assert talk.turns[-1].state == "length"
    assert "limit" in rows(talk)[0][-1]["content"][0]["text"]


def test_asking_while_a_reply_runs_keeps_what_was_written():
    talk = Conversation().ask("one").write([(0.1, Chunk(text="par"))]).ask("two")
    assert talk.turns[1].state == "stopped"
    assert talk.messages()[1] == {"role": "assistant", "content": "par"}
