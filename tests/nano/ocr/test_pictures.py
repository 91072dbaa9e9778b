"""Pictures of text: reproducible, with answers and boxes that are true."""

from random import Random

import numpy as np
import pytest

from mlx_deepseek.documents.blocks import parse
from mlx_deepseek.nano.ocr import texts
from mlx_deepseek.nano.ocr.config import CONTEXT, VIEW_PX
from mlx_deepseek.nano.ocr.data import PAD_ID, collate, draw, encode, labelled
from mlx_deepseek.nano.ocr.pictures import (
    FONTS,
    FREE,
    KINDS,
    MARKDOWN,
    OCR,
    OTHER_FONTS,
    PATCH_PX,
    example,
)
from mlx_deepseek.nano.ocr.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("easy", [0.0, 0.5, 1.0])
def test_the_same_seed_draws_the_same_picture(kind, easy):
    one, other = (example(Random(7), kind, easy=easy) for _ in range(2))
    assert one.answer == other.answer
    assert one.picture.tobytes() == other.picture.tobytes()
    assert kind not in ("table", "locate") or one.picture.size == (VIEW_PX, VIEW_PX)


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_fits_the_context_and_the_vocabulary(kind):
    rng = Random(1)
    for _ in range(30):
        item = example(rng, kind)
        prompt, answer = encode(TOKENIZER, item)
        assert TOKENIZER.decode(answer, skip_special_tokens=False).startswith(item.answer)
        assert len(prompt) + len(answer) < CONTEXT
        if kind in ("word", "line", "lines"):
            assert item.question in (FREE, MARKDOWN, OCR)


def test_texts_to_measure_by_are_never_trained_on():
    rng = Random(2)
    trained = {texts.text(rng, 9, held_out=False) for _ in range(2000)}
    measured = {texts.text(rng, 9, held_out=True) for _ in range(500)}
    assert not trained & measured
    assert not any(texts.is_held_out(word) for line in trained for word in texts.words(line))
    assert all(texts.is_held_out(word) for line in measured for word in texts.words(line))
    names = {texts.word(rng, 12, held_out=True) for _ in range(200)}
    assert all(2 < len(name) <= 12 and texts.is_held_out(name.upper()) for name in names)


def test_pages_of_any_shape_are_told_the_characters_where_the_model_sees_them():
    rng = Random(8)
    shapes = set()
    for _ in range(20):
        item = example(rng, "shape")
        shapes.add(item.picture.size)
        patches = labelled(TOKENIZER, item)
        seen = np.argwhere(patches != PAD_ID) * PATCH_PX + PATCH_PX // 2
        wide, high = (VIEW_PX * side / max(item.picture.size) / 2 for side in item.picture.size)
        assert (np.abs(seen - VIEW_PX / 2) <= (high + PATCH_PX, wide + PATCH_PX)).all()
    assert len(shapes) > 15


def test_fonts_to_measure_by_are_never_trained_on():
    assert not set(FONTS) & set(OTHER_FONTS)


def test_boxes_are_around_the_ink():
    rng = Random(3)
    for _ in range(20):
        item = example(rng, "locate", easy=1.0)  # upright, clean
        pixels = np.asarray(item.picture.convert("L"), float)
        paper = np.median(pixels)
        (block,) = parse(item.answer, item.picture.size)
        left, top, right, bottom = block.boxes[0]
        inked = np.abs(pixels[top:bottom, left:right] - paper) > 60
        assert inked.any(axis=0).mean() > 0.5
        # a margin around the box is empty
        around = pixels[max(top - 1, 0) : bottom + 2, max(left - 3, 0) : left - 1]
        assert np.abs(around - paper).max(initial=0) < 120


def test_patches_are_told_the_character_in_their_middle():
    item = example(Random(4), "word", easy=1.0)
    patches = labelled(TOKENIZER, item)
    seen = [TOKENIZER.id_to_token(int(number)) for number in patches[patches != PAD_ID]]
    assert seen
    assert set(seen) == set(item.answer.replace(" ", ""))


def test_batches_hold_examples_of_every_kind_padded_alike():
    rng = Random(5)
    batches = draw(rng, 4, dict.fromkeys(KINDS, 1.0), 0.5)
    assert {kind for batch in batches for kind in batch.kinds} == set(KINDS)
    for batch in batches:
        assert batch.ids.shape == (4, batch.ids.shape[1])
        assert (batch.prompt < batch.total).all()
        for row, total in zip(batch.ids, batch.total, strict=True):
            assert (row[total:] == PAD_ID).all()


def test_a_row_is_prompt_then_answer_then_the_end():
    item = example(Random(6), "line")
    batch = collate(TOKENIZER, [item])
    row = batch.ids[0, batch.prompt[0] : batch.total[0]].tolist()
    assert TOKENIZER.decode(row[:-1], skip_special_tokens=False) == item.answer
    assert row[-1] == TOKENIZER.token_to_id("<｜end▁of▁sentence｜>")
