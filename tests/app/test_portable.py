"""Files of conversations: read by people, and refused when they are not what they should be."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek_app import portable
from mlx_deepseek_app.conversations import Kept
from mlx_deepseek_app.database import StoreError
from mlx_deepseek_app.session import Conversation, Settings
from tests.app.test_session import answered

TALK = answered(answered(Conversation().ask("one"), "Hi.", "They greet.").ask("two"))
GOOD = json.loads(portable.to_json(Kept(TALK, Settings(), "nano", "A title")))


def test_markdown_reads_like_a_conversation():
    kept = Kept(TALK.edit(2, "deux").finish(error="no memory"), Settings(), "nano", "A title")
    assert portable.to_markdown(kept) == (
        "# A title\n\n*nano*\n\n## You\n\none\n\n## Reply\n\n"
        "<details><summary>Thought</summary>\n\nThey greet.\n\n</details>\n\nHi.\n\n"
        "## You\n\ndeux\n\n## Reply\n\n*No answer: no memory*\n"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "not a conversation"),
        ({"version": 2}, "version 2"),
        ({"turns": {}}, "turns is {}; expected list"),
        ({"turns": []}, "do not follow"),
        ({"turns": GOOD["turns"][::-1]}, "do not follow"),
        ({"turns": [*GOOD["turns"], GOOD["turns"][0]]}, "do not follow"),
        ({"turns": [1]}, "turn 1: expected an object"),
        ({"turns": [GOOD["turns"][0] | {"role": "system"}]}, "role is 'system'"),
        ({"turns": [GOOD["turns"][0] | {"state": "new"}]}, "state is 'new'"),
        ({"turns": [GOOD["turns"][0] | {"text": 1}]}, "text is 1; expected str"),
        ({"turns": [GOOD["turns"][0] | {"usage": {"prompt_tokens": "x"}}]}, "prompt_tokens"),
        ({"tip": "nowhere"}, "do not follow"),
        ({"title": None}, "title is None"),
        ({"settings": {"temperature": 9}}, "temperature is 9; expected a number from 0 to 2"),
        ({"settings": {"top_k": True}}, "top_k is True"),
        ({"title": "\ud800"}, "not a JSON file"),
    ],
)
def test_a_file_that_is_wrong_says_what_is(change, said):
    with pytest.raises(StoreError, match=said):
        portable.from_json(json.dumps(GOOD | change))


@pytest.mark.parametrize("text", ["", "[", "null", '{"format": NaN}', "[" * 100_000])
def test_a_file_that_is_no_conversation_is_refused(text):
    with pytest.raises(StoreError, match=r"not a .*conversation"):
        portable.from_json(text)


def test_a_huge_file_is_refused_unread(monkeypatch):
    monkeypatch.setattr(portable, "BYTES_AT_MOST", 10)
    with pytest.raises(StoreError, match="larger than"):
        portable.from_json(json.dumps(GOOD))


def test_a_reply_that_was_being_written_is_cut_off():
    talk = Conversation().ask("one")
    copy = portable.from_json(portable.to_json(Kept(talk, Settings())))
    assert copy.conversation.turns[-1].state == "cut"
    assert copy.conversation.id != talk.id


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_any_value_anywhere_is_taken_or_refused_plainly(name, value):
    with suppress(StoreError):
        portable.from_json(json.dumps(GOOD | {name: value}))
