"""Pictures in prompts: slots, embeddings, features kept, and caches that tell pictures apart."""

from types import SimpleNamespace

import mlx.core as mx
import pytest
from PIL import Image

from mlx_deepseek import models
from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.errors import PromptError
from mlx_deepseek.generation.decode import tokens
from mlx_deepseek.generation.drafting.small_model import ModelDrafter
from mlx_deepseek.generation.prompt import PromptProcessor, with_images
from mlx_deepseek.generation.prompt_images import PromptImages
from mlx_deepseek.generation.request import Request
from mlx_deepseek.generation.sampling import Sampling
from mlx_deepseek.models.vision_lm import VisionLM
from mlx_deepseek.prompts import FORMATS
from mlx_deepseek.vision.tiling.plan import Pixels, TilePlan

TOKEN = 63
RED, BLUE = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))


class OneView:
    """A reader of one view of 2 x 2 tokens: 7 slots with newlines and separator."""

    def plan(self, sizes):
        return [TilePlan(view_px=8, view_side=2) for _ in sizes]

    def pixels(self, picture, plan):
        return Pixels(mx.array([[list(picture.getpixel((0, 0)))]], dtype=mx.float32) / 255)


class Seer(VisionLM):
    """Features are the picture's colour, times the slot's place."""

    seen = 0

    def see(self, pixels, plan):
        self.seen += 1
        colour = mx.tile(pixels.view.reshape(1, 3), (1, 8))  # [1, D]
        return colour * mx.arange(1, plan.slots + 1)[:, None]


@pytest.fixture
def model(golden_config):
    mx.random.seed(0)
    text = {"model_type": "llama", "hidden_size": 24, "num_hidden_layers": 2, "vocab_size": 64}
    text |= {"num_attention_heads": 2, "intermediate_size": 32, "rms_norm_eps": 1e-6}
    return Seer(models.build(text), OneView())


@pytest.fixture(params=[False, True], ids=["alone", "drafts"])
def new_cache(request, model):
    """A maker of empty caches, without and with a model that drafts."""
    return lambda: PromptCache(
        model, drafter=ModelDrafter(model.language, 2) if request.param else None
    )


def test_each_picture_takes_its_slots_where_its_token_stands(model):
    ids, placed = PromptImages(model).place([1, TOKEN, 2, TOKEN, 3], TOKEN, [RED, BLUE])
    first, second = placed.values()
    assert ids == [1, *first.slots(), 2, *second.slots(), 3]
    assert all(slot < 0 for slot in first.slots() + second.slots())
    assert len(set(first.slots() + second.slots())) == 14


@pytest.mark.parametrize("token", [TOKEN, None])
def test_runs_as_long_as_the_pictures_are_filled(model, token):
    ids, placed = PromptImages(model).place([1, *[TOKEN] * 7, 2], token, [RED])
    assert ids == [1, *next(iter(placed.values())).slots(), 2]


@pytest.mark.parametrize("count", [0, 1, 3, 13])
def test_places_for_more_or_fewer_pictures_are_refused(model, count):
    with pytest.raises(PromptError, match=f"{count} picture tokens for 2 pictures"):
        PromptImages(model).place([1, *[TOKEN] * count], TOKEN, [RED, BLUE])


def test_embeddings_are_words_and_features_in_any_cut(model):
    encoder = PromptImages(model)
    ids, placed = encoder.place([1, TOKEN, TOKEN, TOKEN, 2], TOKEN, [RED, RED, BLUE])
    whole = encoder.embed(ids, placed)
    features = [encoder.features(image) for image in placed.values()]
    words = model.embed(mx.array([[1, 2]]))[0]
    expected = mx.concatenate([words[:1], features[0], features[0], features[1], words[1:]])
    assert mx.array_equal(whole[0], expected)
    cuts = [encoder.embed(ids[start : start + 4], placed) for start in range(0, len(ids), 4)]
    assert mx.array_equal(mx.concatenate(cuts, axis=1), whole)


def test_a_picture_is_encoded_once_while_there_is_room(model):
    encoder = PromptImages(model)
    for _ in range(3):
        ids, placed = encoder.place([TOKEN, 1], TOKEN, [RED])
        encoder.embed(ids, placed)
    assert model.seen == 1
    small = PromptImages(model, room_bytes=0)
    for picture in (RED, BLUE, RED):
        ids, placed = small.place([TOKEN, 1], TOKEN, [picture])
        small.embed(ids, placed)
    assert model.seen == 4


def generated(model, kept, ids, embed):
    request = Request(ids, 5, Sampling(temperature=0.0), frozenset(), embed)
    steps = list(tokens(model, request, kept))
    return [step.token for step in steps if step.token is not None], steps[-1].usage.cached_tokens


@pytest.mark.parametrize("prompt", [[1, TOKEN, 2, 3], [1, 2, TOKEN]])
def test_generation_sees_the_picture_and_the_cache_knows_it(model, new_cache, prompt):
    encoder = PromptImages(model)

    def ask(kept, picture):
        ids, placed = encoder.place(prompt, TOKEN, [picture])
        return generated(model, kept, ids, lambda part: encoder.embed(part, placed)), len(ids)

    kept = new_cache()
    (red, cached), length = ask(kept, RED)
    ids, placed = encoder.place(prompt, TOKEN, [RED])
    inputs = encoder.embed(ids, placed)
    for token in red:  # greedy without any cache
        logits = model(mx.zeros(inputs.shape[:2], mx.int32), input_embeddings=inputs)
        assert mx.argmax(logits[0, -1]).item() == token
        inputs = mx.concatenate([inputs, model.embed(mx.array([[token]]))], axis=1)
    assert cached == 0
    assert ask(kept, RED)[0] == (red, length - 1)
    blue, cached = ask(kept, BLUE)[0]
    assert cached == prompt.index(TOKEN)
    assert blue == ask(new_cache(), BLUE)[0][0]
    assert blue == ask(PromptCache(model), BLUE)[0][0]


def test_a_text_model_refuses_pictures():
    loaded = SimpleNamespace(
        name="text",
        prompt_format=FORMATS["completion"],
        folder=".",
        tokenizer=None,
        model=None,
        config={},
    )
    with pytest.raises(PromptError, match="text reads no pictures"):
        PromptProcessor(loaded).encode([1, 2], [RED])  # type: ignore[arg-type]


def test_pictures_open_the_last_message():
    messages = with_images(
        [{"role": "user", "content": "old"}, {"role": "user", "content": "new"}], ["a"]
    )
    assert messages[0]["content"] == "old"
    assert messages[1]["content"] == [
        {"type": "image", "image": "a"},
        {"type": "text", "text": "new"},
    ]
    with pytest.raises(PromptError, match="message for the pictures"):
        with_images([], ["a"])
