"""Measuring readers: the measure itself, and that a perfect reader is found perfect."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek.nano.ocr import evaluate
from mlx_deepseek.nano.ocr.evaluate import edit_distance, held_out, overlap
from mlx_deepseek.nano.ocr.pictures import APART, KINDS
from mlx_deepseek.nano.ocr.texts import is_held_out

texts = st.text("ab ", max_size=8)


@given(texts, texts, texts)
def test_edit_distance_is_a_metric(a, b, c):
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert edit_distance(a, b) <= max(len(a), len(b))


def test_edit_distance_counts_characters():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3


def test_overlap_is_the_common_part_of_both():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0


def test_a_perfect_reader_makes_no_error_and_a_silent_one_only_errors():
    known = {
        item.picture.tobytes(): item.answer
        for kind in (*KINDS, *APART)
        for item in held_out(kind, 3)
    }
    scores = list(evaluate.evaluate(lambda p, _: known[p.tobytes()], 3))
    assert [score.kind for score in scores] == [*KINDS, *APART]
    for score in scores:
        assert (score.errors, score.perfect, score.found) == (0, 3, score.boxes)
    silent = next(evaluate.evaluate(lambda p, _: "", 3, ("line",)))
    assert silent.error_rate == 1
    assert silent.perfect == 0


def test_pictures_to_measure_by_are_always_the_same_and_held_out():
    one, other = (list(held_out("word", 5)) for _ in range(2))
    assert [item.picture.tobytes() for item in one] == [item.picture.tobytes() for item in other]
    assert all(is_held_out(item.answer) for item in one)


def test_without_tesseract_there_is_no_judge(monkeypatch):
    monkeypatch.setattr(evaluate.shutil, "which", lambda name: None)
    with pytest.raises(DeepSeekError, match="tesseract-ocr"):
        evaluate.tesseract(next(iter(held_out("word", 1))).picture, "")
