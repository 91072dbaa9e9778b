"""Phrases and boxes in grounded answers, as the authors' demo draws them."""

import pytest

from mlx_deepseek.prompts.grounding import GroundedBox, boxes, located

SIZE = (1998, 999)


def test_phrases_and_their_boxes():
    answer = (
        "Two <|ref|>dogs<|/ref|><|det|>[[0, 0, 9, 9], [10, 10, 999, 999]]<|/det|> lie on "
        "<|ref|> a rug <|/ref|><|det|>[[100, 50, 900, 90]]<|/det|>."
    )
    assert located(answer, SIZE) == (
        GroundedBox("dogs", ((0, 0, 18, 9), (20, 10, 1998, 999))),
        GroundedBox("a rug", ((200, 50, 1800, 90),)),
    )
    assert located("Two dogs lie on a rug.", SIZE) == ()


def test_a_phrase_that_lost_its_end_does_not_take_the_next():
    answer = "<|ref|>cat and <|ref|>dog<|/ref|><|det|>[[0, 0, 999, 999]]<|/det|>"
    assert located(answer, SIZE) == (GroundedBox("dog", ((0, 0, 1998, 999),)),)


def test_pixels_are_rounded_down_as_in_the_original():
    width, height = 640, 427
    (box,) = boxes("[[580, 270, 999, 904]]", (width, height))
    assert box == tuple(
        int(number / 999 * side)
        for number, side in zip((580, 270, 999, 904), (width, height) * 2, strict=True)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[900, 90, 100, 50]]", ((200, 50, 1800, 90),)),  # corners swapped
        ("[[-5, 0, 5000, 999]]", ((0, 0, 1998, 999),)),  # outside
        ("[[1, 2, 3]]", ()),
        ("[[1, 2, 3, 4, 5]]", ()),
        ("[[1.5, 2, 3, 4]]", ((3, 2, 6, 4),)),
        ("__import__('os').abort()", ()),
    ],
)
def test_what_is_no_box_is_left_out(text, expected):
    assert boxes(text, SIZE) == expected
