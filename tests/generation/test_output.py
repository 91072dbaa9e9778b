"""Stop strings: any text, any cut, any set of stops, with markers around."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlx_deepseek.prompts.parser import Delta, OutputParser
from mlx_deepseek.prompts.special_tokens import THINK_CLOSE, THINK_OPEN
from mlx_deepseek.prompts.tools import FENCED

LETTERS = st.text("ab<", max_size=12)
MARKED = st.lists(st.sampled_from([THINK_OPEN, THINK_CLOSE, "a", "b<", " ", ">"]), max_size=8).map(
    "".join
)


def reference(text: str, stops: list[str]) -> tuple[str, bool]:
    """The text before the first stop string to be whole, and whether there is one."""
    for end in range(len(text) + 1):
        whole = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if whole:
            return text[: end - max(map(len, whole))], True
    return text, False


@given(st.lists(LETTERS, max_size=8), st.lists(LETTERS, max_size=3))
@settings(deadline=None)
def test_pieces_give_what_the_whole_gives(pieces, stops):
    parser = OutputParser(trim=False, stops=stops)
    shown, whole = "", ""
    for piece in pieces:
        whole += piece
        shown += parser.feed(piece).text
        expected, stopped = reference(whole, stops)
        assert expected.startswith(shown)
        assert parser.stopped == stopped
        if stopped:
            break
    shown += parser.finish().text
    assert shown == reference(whole, stops)[0]


@given(MARKED, st.lists(MARKED, max_size=2), st.booleans())
@example("<think></think><think>", ["</think>", "></think><think>"], False)
@settings(deadline=None)
def test_a_stop_among_markers_ends_what_is_read_before_it(text, stops, opened):
    """As if the text had been cut first and read afterwards, whatever overlaps."""

    def read(parts, stops) -> Delta:
        parser = OutputParser(reasoning=True, opened=opened, tools=FENCED, stops=stops)
        total = Delta()
        for part in parts:
            total += parser.feed(part)
        return total + parser.finish()

    assert read(text, stops) == read([text], stops) == read([reference(text, stops)[0]], [])


def test_nothing_is_held_without_need():
    parser = OutputParser(trim=False, stops=["</s>", "\n\n"])
    assert parser.feed("abc<").text == "abc"
    assert parser.feed("b").text == "<b"
    assert parser.feed("\n").text == ""
    assert parser.feed("x").text == "\nx"
    assert (parser.feed("y</").text, parser.feed("s>z").text) == ("y", "")
    assert parser.stopped
    assert parser.feed("more") == Delta()
