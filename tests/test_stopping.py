"""Stop strings: any text, any cut, any set of stops."""

from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.stopping import StopFilter

LETTERS = st.text("ab<", max_size=12)


def reference(text: str, stops: list[str]) -> tuple[str, bool]:
    ends = [text.find(stop) for stop in stops if stop and stop in text]
    return (text[: min(ends)], True) if ends else (text, False)


@given(st.lists(LETTERS, max_size=8), st.lists(LETTERS, max_size=3))
def test_pieces_give_what_the_whole_gives(pieces, stops):
    filtered = StopFilter(stops)
    shown, whole = "", ""
    for piece in pieces:
        whole += piece
        shown += filtered.feed(piece)
        expected, stopped = reference(whole, stops)
        assert expected.startswith(shown)
        assert filtered.stopped == stopped
        if stopped:
            break
    shown += filtered.finish()
    assert shown == reference(whole, stops)[0]


def test_nothing_is_held_without_need():
    filtered = StopFilter(["</s>", "\n\n"])
    assert filtered.feed("abc<") == "abc"
    assert filtered.feed("b") == "<b"
    assert filtered.feed("\n") == ""
    assert filtered.feed("x") == "\nx"
    assert (filtered.feed("y</"), filtered.feed("s>z")) == ("y", "")
    assert filtered.stopped
    assert filtered.feed("more") == ""
