"""Grounded Markdown is taken apart without losing text, whatever the model writes."""

import random

import pytest

from mlx_deepseek.documents.blocks import Block, parse, spoken

SIZE = (1998, 999)
ANSWER = """<|ref|>title<|/ref|><|det|>[[100, 50, 900, 90]]<|/det|>
# A title

<|ref|>text<|/ref|><|det|>[[100, 120, 500, 300]]<|/det|>
First paragraph with \\( x^2 \\).

<|ref|>image<|/ref|><|det|>[[100, 400, 500, 600]]<|/det|>

<|ref|>table<|/ref|><|det|>[[100, 700, 500, 800]]<|/det|>
<table><tr><td>1 < 2</td></tr></table>"""


def test_blocks():
    title, text, image, table = parse(ANSWER, SIZE)
    assert title == Block("title", ((200, 50, 1800, 90),), "# A title")
    assert text.text == "First paragraph with \\( x^2 \\)."
    assert image == Block("image", ((200, 400, 1000, 600),), "")
    assert image.is_figure
    assert table.words == "<table><tr><td>1 < 2</td></tr></table>"


def test_plain_answers_are_one_block():
    assert parse("Free text.\n\nMore.", SIZE) == (Block("", (), "Free text.\n\nMore."),)
    assert parse(" \n", SIZE) == ()


def test_located_phrases_are_text():
    (block,) = parse(
        "<|ref|>the cat<|/ref|><|det|>[[0, 0, 9, 9], [10, 10, 999, 999]]<|/det|>", SIZE
    )
    assert block.words == "the cat"
    assert block.boxes == ((0, 0, 18, 9), (20, 10, 1998, 999))
    assert parse("<|ref|>text<|/ref|><|det|>[[0,0,1,1]]<|/det|>", SIZE)[0].words == ""


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ("[[900, 90, 100, 50]]", ((200, 50, 1800, 90),)),  # corners swapped
        ("[[-5, 0, 5000, 999]]", ((0, 0, 1998, 999),)),  # outside
        ("[[1, 2, 3]]", ()),
        ("[[1, 2, 3, 4, 5]]", ()),
        ("[[a, b, c, d], [0, 0, 999, 999]]", ((0, 0, 1998, 999),)),
        ("[0, 0, 999, 999]", ((0, 0, 1998, 999),)),
        ("__import__('os').abort()", ()),
        ("[[" + "9" * 400 + ", 0, 0, 0]]", ((0, 0, 1998, 0),)),
        ("", ()),
    ],
)
def test_boxes(boxes, expected):
    (block,) = parse(f"<|ref|>text<|/ref|><|det|>{boxes}<|/det|>\nhello", SIZE)
    assert block == Block("text", expected, "hello")


def test_a_lost_marker_costs_no_text():
    blocks = parse(
        "<|ref|>text<|/ref|> lost\n<|ref|>title<|/ref|><|det|>[[0,0,9,9]]<|/det|>\nT", SIZE
    )
    assert "lost" in blocks[0].words
    assert blocks[1].label == "title"


def test_while_it_is_written_no_marker_shows():
    """Every beginning of an answer parses, without markers, and text never disappears again."""
    before = ""
    for end in range(len(ANSWER) + 1):
        words = "\n".join(block.words for block in parse(ANSWER[:end], SIZE, done=False))
        assert "<|" not in words
        assert words.startswith(before.rstrip("<\n "))
        before = words


def test_a_cut_off_phrase_stays():
    assert parse("<|ref|>the cat<|/ref|><|det|>[[1, 2", SIZE)[0].words == "the cat"
    assert parse("a <|ref|>the c", SIZE)[0].words == "a the c"


def test_no_answer_takes_long_or_fails():
    random.seed(5)
    pieces = ["<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "[[1,2,3,4]]", "text", "\n", "<|", "[["]
    for _ in range(300):
        parse("".join(random.choices(pieces, k=60)), SIZE)
    parse("<|ref|>" * 20_000, SIZE)
    parse("<|ref|>" + "a" * 200_000, SIZE)
    parse("<|ref|>a<|/ref|><|det|>" + "[" * 100_000, SIZE)


def test_running_text_keeps_phrases_in_their_place():
    cat = "<|ref|>the cat<|/ref|><|det|>[[0, 0, 9, 9]]<|/det|>"
    title = "<|ref|>title<|/ref|><|det|>[[0, 0, 9, 9]]<|/det|>\n# Cats\n"
    assert spoken(f"{title}Here {cat} sleeps.") == "# Cats\nHere the cat sleeps."
    assert spoken(f"{cat} and <|ref|>a d", done=False) == "the cat and "
    assert parse(f"{cat} sleeps.", (10, 10))[0].words == "the cat sleeps."
