"""The conversation as a value."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.completion import Usage
from mlx_deepseek_app.session import Conversation
from mlx_deepseek_app.transcript import rows
from mlx_deepseek_app.turns import is_tree
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
        index = draw(st.integers(0, len(talk.turns) - 1))
        match draw(st.sampled_from(["ask", "edit", "rewrite", "retry", "switch", "resume"])):
            case "ask":
                talk = talk.ask(draw(words))
            case "edit":
                talk = talk.edit(index - index % 2, draw(words))
            case "rewrite" if not talk.turns[-1].running:
                talk = talk.rewrite(index | 1, draw(words))
            case "retry":
                talk = talk.retry(index)
            case "switch":
                talk = talk.switch(index, draw(st.integers(-2, 2)))
            case "resume" if talk.turns[-1].unfinished:
                talk = talk.resume()
        steps.append(talk)
        if talk.turns[-1].running:
            talk = talk.write([(0.5, Chunk(text=draw(words)))])
            talk = talk.finish(stopped=draw(st.booleans()))
            steps.append(talk)
    return steps


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
talks = histories()


def test_a_reply_is_written_and_sent_back_with_its_reasoning():
    talk = answered(Conversation().ask("hello"), "Hi.", "They greet.").ask("more")
    assert talk.messages("Be brief.") == [
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
    said = re.sub(r'<span class="app-note">(.*?)</span>', r"\1", shown[1]["content"][0]["text"])
    assert said == "⚠️ **No answer.** no memory"
    assert owners == [0, 1, 2]


@pytest.mark.parametrize(
    ("end", "note"),
    [
        ({"stopped": True}, '<em class="app-note">Stopped.</em>'),
        ({}, '<em class="app-note">The model answered with nothing.</em>'),
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


@given(talks)
def test_branches_never_lose_a_turn_and_stay_a_tree(steps):
    for before, after in itertools.pairwise(steps):
        assert {turn.id for turn in before.nodes} <= {turn.id for turn in after.nodes}
    talk = steps[-1]
    assert is_tree(talk.nodes)
    assert [turn.role for turn in talk.turns] == ["user", "assistant"] * (len(talk.turns) // 2)
    for index in range(len(talk.turns)):
        at, of = talk.version(index)
        assert 1 <= at <= of
        back = talk.switch(index, -1).switch(index, 1) if at > 1 else talk
        assert back.turns[index].id == talk.turns[index].id


@given(talks, st.data())
def test_deleting_takes_one_exchange_and_keeps_the_others(steps, data):
    talk = steps[-1]
    index = data.draw(st.integers(0, len(talk.turns) - 1))
    index -= index % 2 and talk.version(index)[1] > 1  # else only a version goes
    left = talk.delete(index)
    assert is_tree(left.nodes)
    asked = talk.turns[index - index % 2]
    replies = sum(turn.parent == asked.id for turn in talk.nodes)
    assert len(left.nodes) == len(talk.nodes) - 1 - replies
    if index // 2 < len(talk.turns) // 2 - 1:  # not the last
        kept = [turn.id for turn in talk.turns if turn.id not in (asked.id, asked.id)]
        at = talk.turns.index(asked)
        assert [turn.id for turn in left.turns] == kept[:at] + kept[at + 1 :]


def test_versions_are_counted_and_switched_with_what_followed():
    talk = answered(answered(Conversation().ask("one")).ask("two"))
    edited = answered(talk.edit(0, "uno"))
    assert edited.version(0) == (2, 2)
    assert [turn.text for turn in edited.switch(0, -1).turns] == ["one", "fine", "two", "fine"]
    assert answered(edited.retry(1)).version(1) == (2, 2)


def test_a_cut_off_reply_goes_on_where_it_was():
    talk = Conversation().ask("count").write([(0.5, Chunk(text="one "))]).finish(stopped=True)
    assert rows(talk)[0][-1]["options"] == [{"value": "continue", "label": "Continue"}]
    again = talk.resume()
    assert again.messages()[-1] == {"role": "assistant", "content": "one ", "prefix": True}
    done = again.write([(0.6, Chunk(text="two"))]).finish()
    assert [turn.text for turn in done.turns] == ["count", "one two"]
    assert "options" not in rows(done)[0][-1]
    with pytest.raises(ValueError, match="complete"):
        done.resume()


def test_half_of_a_surrogate_pair_does_not_spoil_a_conversation():
    Conversation().ask("\ud800").turns[0].text.encode()


def test_a_reply_is_put_into_other_words_as_another_version():
    talk = answered(Conversation().ask("one"), "fine", "Hm").ask("two")
    with pytest.raises(ValueError, match="replies"):
        talk.rewrite(0, "x")
    mine = talk.finish(stopped=True).rewrite(1, "better")
    assert [turn.text for turn in mine.turns] == ["one", "better"]
    assert (mine.turns[1].reasoning, mine.turns[1].state) == ("Hm", "done")
    assert mine.version(1) == (2, 2)
    assert mine.ask("next").messages()[1]["content"] == "better"


def test_one_version_of_a_reply_is_deleted_and_the_others_stay():
    talk = answered(answered(Conversation().ask("one"), "first").ask("two"))
    other = answered(talk.retry(1), "second")
    left = other.delete(1)
    assert [turn.text for turn in left.turns] == ["one", "first", "two", "fine"]
    assert is_tree(left.nodes)
    gone = other.switch(1, -1).delete(1)  # with what followed it
    assert [turn.text for turn in gone.nodes] == ["one", "second"]
