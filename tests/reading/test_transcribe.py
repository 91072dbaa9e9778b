"""A tiny model that sees reads documents through the engine, alone and in batches alike."""

import mlx.core as mx
import pytest
from PIL import Image

from mlx_deepseek import models, nano
from mlx_deepseek.caches import Caches, Caching
from mlx_deepseek.engine import Engine
from mlx_deepseek.errors import PromptError
from mlx_deepseek.loading import Loaded, load_tokenizer
from mlx_deepseek.prompts.plain import PlainChat
from mlx_deepseek.worker import shared_worker
from tests.reading.made import text_pdf
from tests.test_seeing import OneView, Seer

PICTURE = "<｜fim▁hole｜>"
COLOURS = [(200, 30, 10), (10, 220, 40), (90, 20, 250), (240, 240, 10), (5, 5, 5)]


class Colours(OneView):
    """Sees all of a picture's colours, in a line."""

    def pixels(self, picture, plan):
        seen = super().pixels(picture.resize((1, 1)), plan)
        mx.eval(seen.view)
        return seen


def engine_of(context_length=64, model=None) -> Engine:
    """An engine of random weights that writes 623 kinds of tokens."""
    mx.random.seed(1)
    config = {"model_type": "llama", "hidden_size": 24, "num_hidden_layers": 2, "vocab_size": 640}
    config |= {"num_attention_heads": 2, "intermediate_size": 32, "rms_norm_eps": 1e-6}
    text = models.build(config)
    text.lm_head.weight = text.lm_head.weight * 30
    folder = nano.checkpoint_path()
    loaded = Loaded(
        name="seer",
        folder=folder,
        config=config,
        model=model or Seer(text, Colours()),
        tokenizer=load_tokenizer(folder, {"eos_token_id": 1}),
        prompt_format=PlainChat("seer", picture=PICTURE, gap="\n"),
        entry=None,
        context_length=context_length,
        suggestions=(),
    )
    return Engine(loaded, shared_worker(), Caches(loaded, Caching(), None))


def finished(states) -> dict:
    """The last state of each page by its picture's first colour."""
    return {state.picture.getpixel((0, 0)): state for state in states if state.finish}


def test_batches_read_what_single_pages_read():
    engine = engine_of()
    pictures = [Image.new("RGB", (9, 9), colour) for colour in COLOURS]
    alone = finished(engine.read(*pictures, batch=1, max_tokens=12))
    assert {state.finish for state in alone.values()} <= {"stop", "length"}
    assert len({state.answer for state in alone.values()}) > 2  # the model looks at them
    for batch in (2, 5):
        together = finished(engine.read(*pictures, batch=batch, max_tokens=12))
        assert {c: s.answer for c, s in together.items()} == {c: s.answer for c, s in alone.items()}


def test_the_engine_alone_writes_the_same():
    engine = engine_of()
    picture = Image.new("RGB", (9, 9), COLOURS[0])
    (state,) = finished(engine.read(picture, prompt="Hello", max_tokens=12)).values()
    answer = engine.generate("Hello", images=[picture], max_tokens=12)
    assert state.answer == answer.text
    assert state.cost.completion_tokens == answer.usage.completion_tokens


def test_costs():
    (state,) = finished(engine_of().read(Image.new("RGB", (9, 9)), max_tokens=5)).values()
    assert state.cost.vision_tokens == 4  # of 7 slots
    assert state.cost.completion_tokens == 5
    assert state.finish == "length"
    assert state.cost.text_tokens > 0
    assert state.cost.compression == state.cost.text_tokens / 4


def test_pages_without_room_are_reported():
    states = list(engine_of(context_length=8).read(text_pdf("a", "b"), batch=2))
    assert [state.number for state in states] == [1, 2]
    assert all("context window of 8" in state.error for state in states)


def test_bad_pages_among_good_ones():
    sources = [b"", Image.new("RGB", (9, 9)), b"%PDF-", Image.new("RGB", (0, 9))]
    ends = [state for state in engine_of().read(*sources, max_tokens=3) if state.finish]
    assert sorted(sources.index(state.source) for state in ends) == [0, 1, 2, 3]
    assert [state.finish for state in ends if not state.error] == ["length"]


def test_text_grows_and_closing_ends_it():
    states = engine_of().read(Image.new("RGB", (9, 9)), Image.new("RGB", (9, 9)), max_tokens=20)
    before = next(states).answer
    for _ in range(10):
        state = next(states)
        if state.source is not None and state.answer:
            before = max(before, state.answer, key=len)
    states.close()
    assert before


def test_refusals():
    with pytest.raises(PromptError, match="batch is 0"):
        engine_of().read("a.png", batch=0)
    with pytest.raises(PromptError, match="empty"):
        next(engine_of().read("a.png", prompt=""))
    with pytest.raises(PromptError, match="one way only"):
        engine_of().read("a.png", mode="base")
    blind = engine_of(model=models.build({**engine_of().config}))
    with pytest.raises(PromptError, match="reads no pictures"):
        blind.read("a.png")
