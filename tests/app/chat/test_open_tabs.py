"""Which form the rows of the chat go out in: what the page makes of the differences is right."""

import copy

from gradio.utils import diff
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek_app.chat.open_tabs import OpenTab
from mlx_deepseek_app.chat.replies import Talk
from mlx_deepseek_app.chat.transcript import rows
from mlx_deepseek_app.conversation.conversation import Conversation
from tests.app.scripted import Chunk


def applied(value, edits):
    """What gradio's page makes of differences."""
    for kind, path, new in edits:
        if not path:
            value = value + new if kind == "append" else new
            continue
        *inner, last = path
        place = value
        for step in inner:
            place = place[step]
        if kind == "delete":
            del place[last]
        elif kind == "add" and isinstance(place, list):
            place.insert(last, new)
        else:
            place[last] = place[last] + new if kind == "append" else new
    return value


def grown(talk, act):
    """The conversation after something that a user or an engine may do."""
    last = talk.messages[-1] if talk.messages else None
    if act == "ask" or last is None:
        return talk.ask("question")
    if act == "think" and last.running:
        return talk.write([(0.1, Chunk(reasoning="hm "))])
    if act == "write" and last.running:
        return talk.write([(0.1, Chunk(text="word\n\n"))])
    if act == "stop":
        return talk.finish(stopped=True) if last.running else talk
    if act == "end":
        return talk.finish() if last.running else talk
    if act == "resume":
        return talk.resume() if last.unfinished else talk
    return talk.retry(len(talk.messages) - 1) if act == "retry" else talk.delete(0)


ACTS = ["ask", "think", "write", "write", "stop", "end", "resume", "retry", "delete"]


@given(st.lists(st.sampled_from(ACTS), max_size=30))
def test_the_page_shows_what_there_is_after_each_difference(acts):
    tab, talk = OpenTab("tab", Talk()), Conversation()
    page, sent, form = None, None, None
    for act in acts:
        talk = grown(talk, act)
        shown = rows(talk)[0]
        now = tab.drawn(shown)
        page = applied(page, diff(sent, shown)) if form == now else copy.deepcopy(shown)
        sent, form = copy.deepcopy(shown), now
        assert page == shown


def test_of_a_reply_that_grows_only_its_new_words_are_sent():
    tab, talk = OpenTab("tab", Talk()), Conversation()
    for number in range(20):
        talk = talk.ask(f"question {number}").write([(0.1, Chunk(text="fine"))]).finish()
    talk = talk.ask("last").write([(0.1, Chunk(text="one"))])
    before = rows(talk)[0]
    form = tab.drawn(before)
    after = rows(talk.write([(0.2, Chunk(text=" two"))]))[0]
    assert tab.drawn(after) == form
    assert len(str(diff(before, after))) < 200
