"""The conversation as a value."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.generation.results import Usage
from mlx_deepseek_app.chat.transcript import rows
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.messages import AttachedPicture, is_tree
from mlx_deepseek_app.jobs.drawn_reply import PictureChunk, to_draw
from tests.app.scripted import Chunk


def answered(conversation, text="fine", reasoning=""):
    chunks = [(0.5, Chunk(reasoning=reasoning)), (2.0, Chunk(text=text))]
    return conversation.write(chunks).finish()


@st.composite
def histories(draw):
    """A conversation after each of some things that a user may do."""
    talk = answered(Conversation().ask(draw(words)), draw(words), draw(words))
    steps = [talk]
    for _ in range(draw(st.integers(0, 8))):
        index = draw(st.integers(0, len(talk.messages) - 1))
        match draw(st.sampled_from(["ask", "edit", "rewrite", "retry", "switch", "resume"])):
            case "ask":
                talk = talk.ask(draw(words))
            case "edit":
                talk = talk.edit(index - index % 2, draw(words))
            case "rewrite" if not talk.messages[-1].running:
                talk = talk.rewrite(index | 1, draw(words))
            case "retry":
                talk = talk.retry(index)
            case "switch":
                talk = talk.switch(index, draw(st.integers(-2, 2)))
            case "resume" if talk.messages[-1].unfinished:
                talk = talk.resume()
        steps.append(talk)
        if talk.messages[-1].running:
            talk = talk.write([(0.5, Chunk(text=draw(words)))])
            talk = talk.finish(stopped=draw(st.booleans()))
            steps.append(talk)
    return steps


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
talks = histories()


def test_a_reply_is_written_and_sent_back_with_its_reasoning():
    talk = answered(Conversation().ask("hello"), "Hi.", "They greet.").ask("more")
    assert talk.prompt("Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Hi.", "reasoning_content": "They greet."},
        {"role": "user", "content": "more"},
    ]


def test_thinking_is_open_while_it_lasts_and_always_says_how_long():
    counted = Chunk(reasoning="Hm", usage=Usage(1, 1200, reasoning_tokens=1200))
    thinking = Conversation().ask("hello").write([(1.5, counted)])
    open_now = {"title": "Thinking for 1.5 s · 1,200 tokens", "status": "pending"}
    assert rows(thinking)[0][1]["metadata"] == open_now
    writing = thinking.write([(1.75, Chunk(text="Hi"))])
    folded = {"title": "Thought for 1.8 s · 1,200 tokens", "status": "done"}
    assert rows(writing)[0][1]["metadata"] == folded
    assert rows(writing.finish())[0][1]["metadata"] == folded


def test_retry_and_edit_drop_what_followed():
    talk = answered(answered(Conversation().ask("one")).ask("two"))
    again = talk.retry(1)
    assert [message.text for message in again.messages] == ["one", ""]
    edited = talk.edit(2, "deux")
    assert [message.text for message in edited.messages] == ["one", "fine", "deux", ""]
    assert [message.text for message in talk.messages] == ["one", "fine", "two", "fine"]
    with pytest.raises(ValueError, match="own messages"):
        talk.edit(1, "x")


def test_a_failed_exchange_is_shown_but_not_sent():
    talk = Conversation().ask("one").finish(error="no memory").ask("two")
    assert talk.prompt() == [{"role": "user", "content": "two"}]
    shown, owners = rows(talk)
    # the last one is the sign of life of the reply that is awaited
    assert [row["role"] for row in shown] == ["user", "assistant", "user", "assistant"]
    assert re.sub("<.*?>", "", shown[1]["content"][0]["text"]) == "No answer. no memory"
    assert owners == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("end", "note"),
    [
        ({"stopped": True}, '<p class="app-note">Stopped.</p>'),
        ({}, '<p class="app-note">The model answered with nothing.</p>'),
    ],
)
def test_an_empty_reply_says_why(end, note):
    shown, _ = rows(Conversation().ask("x").finish(**end))
    assert shown[-1]["content"][0]["text"] == note


def test_that_a_reply_was_stopped_is_said_as_long_as_it_can_be_gone_on_with():
    talk = Conversation().ask("x").write([(0.1, Chunk(text="a"))]).finish(stopped=True)
    assert "Stopped." in rows(talk)[0][-1]["content"][0]["text"]
    later = "".join(row["content"][0]["text"] for row in rows(talk.ask("y"))[0])
    assert "Stopped." not in later


def test_a_reply_cut_off_by_the_limit_says_so():
    talk = Conversation().ask("x").write([(0.1, Chunk(text="a", finish_reason="length"))]).finish()
    assert talk.messages[-1].state == "length"
    assert "limit" in rows(talk)[0][-1]["content"][0]["text"]


def test_asking_while_a_reply_runs_keeps_what_was_written():
    talk = Conversation().ask("one").write([(0.1, Chunk(text="par"))]).ask("two")
    assert talk.messages[1].state == "stopped"
    assert talk.prompt()[1] == {"role": "assistant", "content": "par"}


@given(talks)
def test_branches_never_lose_a_turn_and_stay_a_tree(steps):
    for before, after in itertools.pairwise(steps):
        assert {message.id for message in before.nodes} <= {message.id for message in after.nodes}
    talk = steps[-1]
    assert is_tree(talk.nodes)
    assert [message.role for message in talk.messages] == ["user", "assistant"] * (
        len(talk.messages) // 2
    )
    for index in range(len(talk.messages)):
        at, of = talk.version(index)
        assert 1 <= at <= of
        back = talk.switch(index, -1).switch(index, 1) if at > 1 else talk
        assert back.messages[index].id == talk.messages[index].id


@given(talks, st.data())
def test_deleting_takes_one_exchange_and_keeps_the_others(steps, data):
    talk = steps[-1]
    index = data.draw(st.integers(0, len(talk.messages) - 1))
    index -= index % 2 and talk.version(index)[1] > 1  # else only a version goes
    left = talk.delete(index)
    assert is_tree(left.nodes)
    asked = talk.messages[index - index % 2]
    replies = sum(message.parent == asked.id for message in talk.nodes)
    assert len(left.nodes) == len(talk.nodes) - 1 - replies
    if index // 2 < len(talk.messages) // 2 - 1:  # not the last
        kept = [message.id for message in talk.messages if message.id not in (asked.id, asked.id)]
        at = talk.messages.index(asked)
        assert [message.id for message in left.messages] == kept[:at] + kept[at + 1 :]


def test_versions_are_counted_and_switched_with_what_followed():
    talk = answered(answered(Conversation().ask("one")).ask("two"))
    edited = answered(talk.edit(0, "uno"))
    assert edited.version(0) == (2, 2)
    assert [message.text for message in edited.switch(0, -1).messages] == [
        "one",
        "fine",
        "two",
        "fine",
    ]
    assert answered(edited.retry(1)).version(1) == (2, 2)


def test_a_cut_off_reply_goes_on_where_it_was():
    talk = Conversation().ask("count").write([(0.5, Chunk(text="one "))]).finish(stopped=True)
    assert rows(talk)[0][-1]["options"] == [{"value": "Continue", "label": "Continue"}]
    again = talk.resume()
    assert again.prompt()[-1] == {"role": "assistant", "content": "one ", "prefix": True}
    done = again.write([(0.6, Chunk(text="two"))]).finish()
    assert [message.text for message in done.messages] == ["count", "one two"]
    assert "options" not in rows(done)[0][-1]
    with pytest.raises(ValueError, match="complete"):
        done.resume()


def test_half_of_a_surrogate_pair_does_not_spoil_a_conversation():
    Conversation().ask("\ud800").messages[0].text.encode()


def test_a_reply_is_put_into_other_words_as_another_version():
    talk = answered(Conversation().ask("one"), "fine", "Hm").ask("two")
    with pytest.raises(ValueError, match="replies"):
        talk.rewrite(0, "x")
    mine = talk.finish(stopped=True).rewrite(1, "better")
    assert [message.text for message in mine.messages] == ["one", "better"]
    assert (mine.messages[1].reasoning, mine.messages[1].state) == ("Hm", "done")
    assert mine.version(1) == (2, 2)
    assert mine.ask("next").prompt()[1]["content"] == "better"


def test_one_version_of_a_reply_is_deleted_and_the_others_stay():
    talk = answered(answered(Conversation().ask("one"), "first").ask("two"))
    other = answered(talk.retry(1), "second")
    left = other.delete(1)
    assert [message.text for message in left.messages] == ["one", "first", "two", "fine"]
    assert is_tree(left.nodes)
    gone = other.switch(1, -1).delete(1)  # with what followed it
    assert [message.text for message in gone.nodes] == ["one", "second"]


def test_a_drawn_picture_is_shown_with_the_next_question_without_the_wish_for_it():
    drawn = AttachedPicture("a red circle", "data:image/png;base64,AA==")
    asked = Conversation().ask("/draw a red circle")
    shown = asked.write([(0.1, PictureChunk((drawn,)))]).finish()
    assert shown.messages[-1].pictures == (drawn,)
    assert not shown.messages[-1].unfinished
    question = shown.ask("What color is the circle?").write([(0.1, Chunk("Red"))]).finish()
    (first, reply, last) = question.ask("And its size?").prompt(sees=True)
    assert [part["type"] for part in first["content"]] == ["image_url", "text"]
    assert first["content"][0]["image_url"]["url"] == drawn.url
    assert (reply["content"], last["content"]) == ("Red", "And its size?")
    assert question.ask("more").prompt()[0]["content"] == "What color is the circle?"


def test_only_the_command_with_words_asks_for_a_picture():
    assert to_draw(" /draw  a red circle ") == "a red circle"
    for text in ("/draw", "/drawing a cat", "draw a cat", "what does /draw do?"):
        assert to_draw(text) == ""
