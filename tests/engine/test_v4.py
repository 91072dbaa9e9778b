"""DeepSeek-V4 as users have it: chats, pictures, drafts, caches and restarts give the same text."""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import pytest
from PIL import Image

from mlx_deepseek import Engine, load
from mlx_deepseek.engine.caching import Caching
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.generation import prefill
from mlx_deepseek.vision.picture_slots import model_token
from tests.breadth import examples
from tests.engine.v4_models import with_letters

QUESTION = "Hello there, what is it?"
LENGTH, FIRST = 16, 5
RED = Image.new("RGB", (60, 45), "red")
STRIPES = Image.linear_gradient("L").resize((70, 90)).convert("RGB")


@pytest.fixture(scope="module")
def folder(goldens_root, tmp_path_factory):
    return with_letters(goldens_root / "deepseek_v4_vision", tmp_path_factory.mktemp("v4") / "v4")


def engine_of(folder, **caching: Any) -> Engine:
    return load(folder, dtype="float32", caching=Caching(**{"prefix_bytes": 0, **caching}))


@pytest.fixture(scope="module")
def plain(folder):
    return engine_of(folder, speculate=0)


@pytest.fixture(scope="module")
def drafting(folder):
    return engine_of(folder, speculate=4)


@dataclass
class Answer:
    """What was written, and how."""

    text: str
    drafted: int
    accepted: int
    cached: int


def answer(engine: Engine, prompt: Any, **options: Any) -> Answer:
    done = engine.generate(prompt, **{"temperature": 0, "max_tokens": LENGTH, **options})
    usage = done.usage
    said = f"{done.reasoning}|{done.text}|{done.finish_reason}"
    return Answer(said, usage.drafted_tokens, usage.accepted_tokens, usage.cached_tokens)


def greedy(engine: Engine, prompt: Any, images: Any = ()) -> list[int]:
    """The answer's first tokens by the model itself, the whole prompt read anew for each."""
    encoded = engine.processor.encode(prompt, images)
    model: Any = engine.model
    embed = engine.processor.embed(encoded)
    ids = mx.array([[model_token(number) for number in encoded.ids]])
    inputs = embed(encoded.ids) if embed else model.embed(ids)
    written: list[int] = []
    while len(written) < FIRST:
        logits = model(ids, input_embeddings=inputs) if embed else model(ids)
        written.append(int(logits[0, -1].argmax().item()))
        last = mx.array([written[-1:]])
        ids = mx.concatenate([ids, last], axis=1)
        inputs = mx.concatenate([inputs, model.embed(last)], axis=1)
    return written


def tokens_of(engine: Engine, prompt: Any, images: Any = ()) -> list[int]:
    """The same by the engine, with all that it keeps."""
    cache = engine.new_cache()
    engine.generate(prompt, images=images, temperature=0, max_tokens=FIRST, prompt_cache=cache)
    return cache.ids[len(engine.processor.encode(prompt, images).ids) :]


def test_its_format_and_what_it_can(plain):
    assert plain.prompt_format.id == "v4_vision"
    assert plain.sees
    assert plain.encode(QUESTION)


def test_a_chat_with_and_without_drafts(plain, drafting):
    assert tokens_of(plain, QUESTION) == tokens_of(drafting, QUESTION) == greedy(plain, QUESTION)
    want = answer(plain, QUESTION)
    found = answer(drafting, QUESTION)
    assert found.text == want.text
    assert found.drafted > 0
    turns = [plain.chat(), drafting.chat()]
    for said in (QUESTION, "And then?", "Why so?"):
        one, two = (chat.say(said, temperature=0, max_tokens=LENGTH).text for chat in turns)
        assert one == two


@pytest.mark.parametrize("images", [[RED], [STRIPES, RED]], ids=["one", "two"])
def test_pictures(plain, drafting, images, monkeypatch):
    first = greedy(plain, QUESTION, images)
    assert tokens_of(plain, QUESTION, images) == first != greedy(plain, QUESTION)
    want = answer(plain, QUESTION, images=images)
    monkeypatch.setattr(prefill, "CHUNK_CPU", 7)  # pictures stay whole
    small = answer(drafting, QUESTION, images=images)
    assert small.text == want.text
    assert small.drafted > 0
    again = answer(drafting, QUESTION, images=images)
    assert again.text == want.text
    assert again.cached > sum(len(one.slots()) for one in placed(plain, images))


def placed(engine: Engine, images: Any) -> list[Any]:
    return list(engine.processor.encode(QUESTION, images).images.values())


def test_another_picture_is_no_cached_prefix(plain):
    first = answer(plain, QUESTION, images=[RED])
    other = answer(plain, QUESTION, images=[STRIPES])
    assert other.cached <= 3 + 3
    assert other.text == answer(engine_again(plain), QUESTION, images=[STRIPES]).text
    assert answer(plain, QUESTION, images=[RED]).text == first.text


def engine_again(engine: Engine) -> Engine:
    return engine_of(engine.folder, speculate=0)


def test_a_chat_about_a_picture(plain):
    """Earlier turns are not read again, and can be taken back."""
    parts = [{"type": "image", "image": RED}, {"type": "text", "text": "A"}]
    messages: list[Any] = [{"role": "user", "content": parts}]
    first = plain.generate(messages, temperature=0, max_tokens=90)  # more than tails keep
    turn = {"role": "assistant", "content": first.text}
    longer = [*messages, turn, {"role": "user", "content": "And now?"}]
    second = answer(plain, longer)
    assert second.cached > first.usage.prompt_tokens - 10
    assert second.text == answer(engine_again(plain), longer).text
    back = answer(plain, messages)  # the first turn again
    assert back.cached >= first.usage.prompt_tokens - 9
    assert back.text == answer(engine_again(plain), messages).text


def test_after_a_restart(folder, tmp_path, plain):
    """A long beginning comes from disk; the words after it are the same."""
    long = "The quick brown fox jumps over the lazy dog. " * 14
    want = answer(plain, long + "Why?", images=[RED])
    caching = {"prefix_bytes": 1 << 28, "prefix_folder": tmp_path / "prefixes"}
    for speculate in (0, 4):
        first = engine_of(folder, speculate=speculate, **caching)
        assert answer(first, long + "Who?", images=[RED]).cached == 0
        later = engine_of(folder, speculate=speculate, **caching)
        found = answer(later, long + "Why?", images=[RED])
        assert found.cached >= 512
        assert found.text == want.text
        assert answer(first, QUESTION).text == answer(plain, QUESTION).text
        again = answer(first, long + "Why?", images=[RED])
        assert again.cached >= 512
        assert again.text == want.text


def test_the_same_words_from_a_seed(plain, drafting):
    for seed in range(examples(2)):
        options = {"temperature": 1.0, "top_p": 1.0, "seed": seed}
        one, two = (answer(engine, QUESTION, **options) for engine in (plain, drafting))
        assert one.text == two.text
        assert two.drafted > 0


def test_quantized_caches(folder):
    """Heads of 80 numbers do not divide into groups; other checkpoints' do."""
    with pytest.raises(ConfigError, match="groups of 32"):
        engine_of(folder, bits=8)
