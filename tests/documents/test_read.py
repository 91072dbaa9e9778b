"""Pages stream from documents to the model; the bad ones are reported among them."""

import pytest
from PIL import Image

from mlx_deepseek.documents.instructions import instruction
from mlx_deepseek.documents.read import read
from mlx_deepseek.errors import PromptError
from mlx_deepseek.vision.tiling.plan import TilePlan
from tests.documents.made import encrypted, text_pdf
from tests.documents.scripted import Scripted


def test_states_of_pages():
    states = list(read(Scripted(), [text_pdf("a", "b", "c")]))
    assert [(s.number, s.finish) for s in states if s.finish] == [(n, "stop") for n in (1, 2, 3)]
    first = [state.text for state in states if state.number == 1]
    assert first == sorted(first, key=len)
    assert first[-1].startswith("# Page 0")
    done = [state for state in states if state.finish][2]
    assert done.count == 3
    assert done.blocks[0].boxes == ((0, 0, 400, 40),)
    assert done.cost.compression == 2.5


def test_bad_pages_are_reported_and_the_others_read():
    sources = [b"", text_pdf("a"), encrypted(b"x"), Image.new("RGB", (9, 9)), b"nothing"]
    done = [state for state in read(Scripted(), sources) if state.finish]
    assert len(done) == len(sources)
    assert {sources.index(state.source) for state in done if state.error} == {0, 2, 4}
    assert [state.number for state in done if not state.error] == [1, 1]


def test_only_bad_pages():
    (state,) = read(Scripted(), [b""])
    assert (state.finish, state.number) == ("error", 0)


def test_wanted_pages_keep_their_numbers():
    model = Scripted()
    states = read(model, [text_pdf("a", "b", "c")], wanted=lambda source, number: number > 1)
    assert [state.number for state in states if state.finish] == [2, 3]
    assert len(model.seen) == 2


def test_closing_ends_everything():
    states = read(Scripted(), [text_pdf("a", "b")])
    next(states)
    states.close()


def test_instructions():
    model = Scripted()
    list(read(model, [text_pdf("a")], "free"))
    assert model.asked == "Free OCR."
    assert instruction("markdown") == "<|grounding|>Convert the document to markdown."
    assert instruction("locate: the cat") == "Locate <|ref|>the cat<|/ref|> in the image."
    assert instruction("What is it?") == "What is it?"
    for empty in ("", " ", "locate", "locate:"):
        with pytest.raises(PromptError):
            instruction(empty)


@pytest.mark.parametrize(
    ("plan", "size", "expected"),
    [
        (TilePlan(512, 8), (100, 200), 64),
        (TilePlan(1024, 16, padded=True), (100, 200), 128),
        (TilePlan(1280, 20, padded=True), (100, 100), 400),
        (TilePlan(1024, 16, 640, 10, 2, 3, padded=True), (200, 300), 170 + 600),
    ],
)
def test_vision_tokens(plan, size, expected):
    assert plan.vision_tokens(size) == expected
