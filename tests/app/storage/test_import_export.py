"""Files of conversations: read by people, and refused when they are not what they should be."""

import json
from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.conversation.when import moment
from mlx_deepseek_app.storage import import_export
from mlx_deepseek_app.storage.conversations import SavedConversation
from mlx_deepseek_app.storage.database import StoreError
from tests.app.conversation.test_conversation import answered

TALK = answered(answered(Conversation().ask("one"), "Hi.", "They greet.").ask("two"))
GOOD = json.loads(
    import_export.to_json(SavedConversation(TALK, PanelSettings(), "nano", "A title"))
)


def test_markdown_reads_like_a_conversation():
    kept = SavedConversation(
        TALK.edit(2, "deux").finish(error="no memory"), PanelSettings(), "nano", "A title"
    )
    times = [moment(message.written_s) for message in kept.conversation.messages]
    assert all(time.startswith(str(date.today().year)) for time in times)
    assert import_export.to_markdown(kept) == (
        f"# A title\n\n*nano*\n\n## You, {times[0]}\n\none\n\n## Reply, {times[1]}\n\n"
        "<details><summary>Thought</summary>\n\nThey greet.\n\n</details>\n\nHi.\n\n"
        f"## You, {times[2]}\n\ndeux\n\n## Reply, {times[3]}\n\n*No answer: no memory*\n"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "not a conversation"),
        ({"version": 2}, "version 2"),
        ({"turns": {}}, "In turns: Input should be a valid array"),
        ({"turns": []}, "do not follow"),
        ({"turns": GOOD["turns"][::-1]}, "do not follow"),
        ({"turns": [*GOOD["turns"], GOOD["turns"][0]]}, "do not follow"),
        ({"turns": [1]}, "In turn 1: "),
        ({"turns": [GOOD["turns"][0] | {"role": "system"}]}, "turn 1: role is 'system'"),
        ({"turns": [GOOD["turns"][0] | {"state": "new"}]}, "turn 1: state is 'new'"),
        ({"turns": [GOOD["turns"][0] | {"text": 1}]}, "text is 1: Input should be a valid string"),
        ({"turns": [GOOD["turns"][0] | {"usage": {"prompt_tokens": "x"}}]}, "prompt_tokens"),
        ({"tip": "nowhere"}, "do not follow"),
        ({"title": None}, "In title"),
        (
            {"settings": {"temperature": 9}},
            "settings: temperature.* is 9: Input should be less than or equal to 2",
        ),
        ({"turns": [GOOD["turns"][0] | {"written_s": 1e300}]}, "written_s is 1e.300"),
        ({"updated_s": -1.0}, "In updated_s"),
        ({"settings": {"top_k": True}}, "top_k is True"),
        ({"title": "\ud800"}, "not a JSON file"),
    ],
)
def test_a_file_that_is_wrong_says_what_is(change, said):
    with pytest.raises(StoreError, match=said):
        import_export.from_json(json.dumps(GOOD | change))


@pytest.mark.parametrize("text", ["", "[", "null", '{"format": NaN}', "[" * 100_000])
def test_a_file_that_is_no_conversation_is_refused(text):
    with pytest.raises(StoreError, match=r"not a .*conversation"):
        import_export.from_json(text)


def test_a_huge_file_is_refused_unread(monkeypatch):
    monkeypatch.setattr(import_export, "BYTES_AT_MOST", 10)
    with pytest.raises(StoreError, match="larger than"):
        import_export.from_json(json.dumps(GOOD))


def test_a_reply_that_was_being_written_is_cut_off():
    talk = Conversation().ask("one")
    copy = import_export.from_json(import_export.to_json(SavedConversation(talk, PanelSettings())))
    assert copy.conversation.messages[-1].state == "cut"
    assert copy.conversation.id != talk.id


def kept(title, *words):
    talk = Conversation()
    for word in words:
        talk = answered(talk.ask(word), f"About {word}.")
    return SavedConversation(talk, PanelSettings(system="s"), "nano", title, updated_s=5.0)


def test_everything_goes_into_one_file_and_comes_back():
    several = [kept("A", "one"), kept("B", "two", "three")]
    brought, trouble = import_export.read(import_export.all_to_json(several))
    assert trouble == ""
    assert [(one.title, one.updated_s, one.settings) for one in brought] == [
        (one.title, 5.0, one.settings) for one in several
    ]
    assert [one.conversation.messages for one in brought] == [
        one.conversation.messages for one in several
    ]
    assert {one.conversation.id for one in brought}.isdisjoint(
        {one.conversation.id for one in several}
    )


def test_what_of_a_file_cannot_be_read_is_named_and_the_rest_is_brought_in():
    data = json.loads(import_export.all_to_json([kept("A", "one"), kept("B", "two")]))
    data["conversations"][0]["tip"] = "nowhere"
    brought, trouble = import_export.read(json.dumps(data))
    assert [one.title for one in brought] == ["B"]
    assert trouble.startswith("1 of 2 could not be read: conversation 1: The turns")
    for wrong, said in (
        ([], "no conversation in"),
        ({}, "not a conversation"),
        ("x", "not a conversation"),
        (data | {"conversations": 1}, "expected a list"),
        (data | {"version": 9}, "version 9"),
    ):
        with pytest.raises(StoreError, match=said):
            import_export.read(json.dumps(wrong))
    with pytest.raises(StoreError, match="zip archive"):
        import_export.read("PK\x03\x04...")


def node(key, parent, children, message):
    return {key: {"id": key, "parent": parent, "children": children, "message": message}}


def chatgpt(role, *parts, **more):
    return {"author": {"role": role}, "content": {"content_type": "text", "parts": parts}, **more}


CHATGPT = {
    "title": "Cats",
    "update_time": 1700000000.5,
    "current_node": "e",
    "mapping": {
        **node("root", None, ["sys"], None),
        **node("sys", "root", ["a"], chatgpt("system", "")),
        **node("a", "sys", ["b", "e0"], chatgpt("user", "Hi", {"asset_pointer": "file:1"})),
        **node("b", "a", ["c"], chatgpt("assistant", "first", metadata={"model_slug": "gpt-4"})),
        **node("c", "b", [], chatgpt("user", "and?", create_time=1.7e9)),
        **node("e0", "a", ["t"], {"author": {"role": "assistant"},
               "content": {"thoughts": [{"content": "Hm."}]}}),
        **node("t", "e0", ["u"], chatgpt("assistant", "search()", recipient="browser")),
        **node("u", "t", ["e"], chatgpt("tool", "results")),
        **node("e", "u", [], chatgpt("assistant", "second")),
    },
}  # fmt: skip
DEEPSEEK = {
    "title": "Sums",
    "updated_at": "2025-03-30T04:50:29.156000+08:00",
    "mapping": {
        **node("root", None, ["1"], None),
        **node("1", "root", ["2", "3"], {"fragments": [{"type": "REQUEST", "content": "2+2?"}]}),
        **node("2", "1", [], {"model": "deepseek-chat",
               "fragments": [{"type": "RESPONSE", "content": "5"}]}),
        **node("3", "1", ["4"], {"model": "deepseek-reasoner", "fragments": [
               {"type": "THINK", "content": "Hm."}, {"type": "RESPONSE", "content": "4"}]}),
        **node("4", "3", ["5"], {"content": "Sure?", "reasoning_content": None}),
        **node("5", "4", [], {"content": "Yes.", "reasoning_content": "2+2=4"}),
    },
}  # fmt: skip


def said(saved):
    return [(one.role, one.reasoning, one.text) for one in saved.conversation.messages]


def test_chatgpts_export_is_read_with_its_branches():
    (saved,), trouble = import_export.read(json.dumps([CHATGPT]))
    assert trouble == ""
    assert (saved.title, saved.model, saved.updated_s) == ("Cats", "gpt-4", 1700000000.5)
    asked, reply = saved.conversation.messages
    assert said(saved) == [("user", "", "Hi\n\n[picture]"), ("assistant", "Hm.", "second")]
    other = saved.conversation.switch(1, -1)
    assert [one.text for one in other.messages] == [asked.text, "first", "and?"]
    assert [one.written_s for one in other.messages] == [0, 0, 1.7e9]
    assert saved.conversation.version(1) == (2, 2)
    assert reply.state == "done"


def test_deepseeks_export_is_read_in_both_of_its_forms():
    (saved,), _ = import_export.read(json.dumps([DEEPSEEK]))
    assert (saved.title, saved.model) == ("Sums", "deepseek-reasoner")
    assert saved.updated_s == pytest.approx(1743281429.156)
    assert said(saved) == [
        ("user", "", "2+2?"), ("assistant", "Hm.", "4"), ("user", "", "Sure?"),
        ("assistant", "2+2=4", "Yes."),
    ]  # fmt: skip
    assert [one.text for one in saved.conversation.switch(1, -1).messages] == ["2+2?", "5"]
    begun = dict(DEEPSEEK, mapping=node("a", None, [], {"fragments": [
        {"type": "RESPONSE", "content": "Welcome"}]}))  # fmt: skip
    (saved,), _ = import_export.read(json.dumps([begun]))
    assert said(saved) == [("user", "", ""), ("assistant", "", "Welcome")]


@pytest.mark.parametrize(
    ("mapping", "why"),
    [
        ([], "mapping is no object"),
        ({"a": 1}, "node of its mapping is no object"),
        (node("a", None, ["a"], None), "go in a circle"),
        (node("a", "b", ["b"], None) | node("b", "a", ["a"], None), "do not follow"),
        (node("a", None, [], 7), "message is no object"),
        (node("a", None, [], {"fragments": [1]}), "fragment"),
        (node("a", None, [], None), "no conversation in this file"),
    ],
)
def test_foreign_files_that_are_wrong_say_what_is(mapping, why):
    with pytest.raises(StoreError, match=why):
        import_export.read(json.dumps([{"title": "x", "mapping": mapping}]))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from(["title", "mapping", "message", "content", "parent", "children"]), json_values
)
def test_any_value_anywhere_of_a_foreign_file_is_taken_or_refused_plainly(name, value):
    data = json.loads(json.dumps([CHATGPT]))
    for one in (data[0], data[0]["mapping"]["a"], data[0]["mapping"]["a"]["message"]):
        if name in one:
            one[name] = value
    with suppress(StoreError):
        import_export.read(json.dumps(data))


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_any_value_anywhere_is_taken_or_refused_plainly(name, value):
    with suppress(StoreError):
        import_export.from_json(json.dumps(GOOD | {name: value}))
