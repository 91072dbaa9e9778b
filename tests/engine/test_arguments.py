"""What users hand over: taken where the meaning is plain, else refused with range and remedy."""

import inspect
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from PIL import Image

import mlx_deepseek as ds
from mlx_deepseek.engine.caching import Caching
from mlx_deepseek.errors import ConfigError, DeepSeekError, PromptError
from mlx_deepseek.generation.prompt import plain_images, plain_prompt
from mlx_deepseek.nano.text.tokenizer import VOCAB
from mlx_deepseek.prompts.formats import coder, prover
from mlx_deepseek.prompts.special_tokens import BOS

QUESTION = "What is 347 + 586?"


@pytest.fixture(scope="module")
def engine():
    return ds.load("nano")


@pytest.mark.parametrize(
    "prompt",
    [
        [0, 10**9],
        [-1],
        [2**40],
        [True, 1],
        [1.5],
        [1, "a"],
        mx.array([10**9]),
        np.array([VOCAB]),
        5,
        None,
        object(),
        {"content": "no role"},
        [],
        [[1, 2]],
    ],
)
def test_prompts_that_are_none(engine, prompt):
    for ask in (engine.stream, engine.logits):
        with pytest.raises(PromptError):
            ask(prompt)


@pytest.mark.parametrize(
    "option",
    [
        {"max_tokens": 2.5},
        {"max_tokens": float("nan")},
        {"max_tokens": 0},
        {"max_tokens": "5"},
        {"max_tokens": True},
        {"stop": 5},
        {"stop": [1]},
        {"seed": 1.5},
        {"seed": -1},
        {"temperature": "hot"},
        {"temperature": float("nan")},
        {"temperature": -1},
        {"top_p": 1.5},
        {"top_k": 0.5},
        {"presence_penalty": 3},
        {"logit_bias": [1]},
        {"logit_bias": {1: "x"}},
        {"sampling": 5},
        {"sampling": {"heat": 1}},
        {"sampler": 5},
        {"logits_processors": [5]},
        {"logprobs": -1},
        {"prompt_cache": 5},
        {"thinking": "yes"},
        {"response_format": 5},
        {"response_format": "xml"},
        {"tools": "search"},
        {"images": object()},
        {"temprature": 1.0},
    ],
)
def test_options_that_are_wrong(engine, option):
    with pytest.raises(DeepSeekError):
        engine.stream(QUESTION, **option)


def test_a_misspelt_option_is_named(engine):
    with pytest.raises(PromptError, match="Did you mean temperature"):
        engine.generate(QUESTION, temprature=1.0)
    with pytest.raises(PromptError, match="no option 'images'"):
        engine.complete("a", images=["x"])


@pytest.mark.parametrize(
    "option", [{"bits": 3}, {"bits": "8"}, {"speculate": -1}, {"speculate": 1.5}]
)
def test_caching_that_is_wrong(option):
    with pytest.raises(ConfigError):
        Caching(**option)
    with pytest.raises(ConfigError):
        Caching(prefix_folder=5)  # type: ignore[arg-type]
    assert Caching(prefix_folder="x").prefix_folder == "x"


def test_names_that_are_none():
    for wrong in (None, 5, b"nano"):
        with pytest.raises(ConfigError):
            ds.load(wrong)  # type: ignore[arg-type]


def test_what_is_plain_is_taken(engine):
    def ids(prompt):
        return engine.processor.encode(prompt).ids

    asked = {"role": "user", "content": QUESTION}
    expected = ids(QUESTION)
    assert ids(QUESTION.encode()) == ids(asked) == ids((asked,)) == expected
    assert ids(np.array(expected)) == ids(mx.array(expected)) == ids(tuple(expected)) == expected
    assert ids(np.array(expected, dtype=np.uint16)) == expected
    picture = Image.new("RGB", (2, 2))
    for one in ("a.png", Path("a.png"), b"x", picture):
        assert plain_images(one) == plain_images([one]) == [one]
    assert plain_images(None) == []
    assert plain_prompt(b"\xff") == "\ufffd"


@pytest.mark.parametrize("text", ["2 + 2? \ud83d", "\udcff", "\ud83d\ude00"])
def test_halves_of_characters_are_answered(engine, text):
    asked = engine.processor.encode(text).ids
    repaired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert asked == engine.processor.encode(repaired).ids
    message = {"role": "user", "content": [{"type": "text", "text": text}], "name": text}
    assert engine.processor.encode([message]).ids == asked


def test_one_bos(engine):
    """In every way in, whatever users write; token numbers are taken as they are."""
    processor = engine.processor
    bos = processor.tokenizer.token_id(BOS)
    theorem, files = (
        prover.completion("theorem t : 1 = 1 := by\n"),
        coder.repository([("a.py", "x")]),
    )
    texts = ["plain", f"{BOS}plain", f"plain {BOS}", f"{BOS}{BOS}plain", "", " ", theorem, files]
    for text in texts:
        ids = processor.continued(text)
        assert ids[0] == bos
        assert ids.count(bos) == 1 + text.removeprefix(BOS).count(BOS)
    asked = {"role": "user", "content": f"{BOS} and {BOS}"}
    begun = {"role": "assistant", "content": BOS, "prefix": True}
    system = {"role": "system", "content": BOS}
    for prompt in (f"{BOS}hi", asked, [asked], [system, asked], [asked, begun], b"hi"):
        ids = processor.encode(prompt).ids
        assert (ids[0], ids.count(bos)) == (bos, 1)
    for prompt in ([5, 7], [bos, 5], np.array([bos, bos])):
        assert processor.encode(prompt).ids == list(prompt)


def test_completions_keep_their_first_blank(engine):
    begun = f"<｜User｜>{QUESTION}<｜Assistant｜><think>\nones"
    assert engine.complete(begun, max_tokens=2).text == " 7"


def test_greedy_by_top_p_and_by_cold(engine):
    greedy = engine.generate(QUESTION, temperature=0, max_tokens=12).reasoning
    for options in (
        {"temperature": 1, "top_p": 0.0},
        {"temperature": 1e-300},
        {"sampling": {"temperature": 0}},
        {"sampling": ds.Sampling(temperature=5), "temperature": 0},
        {"temperature": 5, "sampler": lambda logprobs: mx.argmax(logprobs, axis=-1)},
        {"temperature": 0, "logits_processors": [lambda tokens, logits: logits]},
        {"temperature": 0, "stop": None, "tools": None, "top_p": None},
        {"temperature": np.float32(0), "max_tokens": np.int64(12)},
    ):
        assert engine.generate(QUESTION, **{"max_tokens": 12, **options}).reasoning == greedy


def test_logprobs_are_the_models(engine):
    done = engine.generate(QUESTION, temperature=0, max_tokens=4, logprobs=2)
    prompt = engine.processor.encode(QUESTION).ids
    written = [one.token for one in done.logprobs]
    logits = engine.logits([*prompt, *written])[len(prompt) - 1 : -1]
    expected = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    assert "".join(one.text for one in done.logprobs).strip() == done.reasoning
    for i, one in enumerate(done.logprobs):
        assert abs(one.logprob - expected[i, one.token].item()) < 1e-2
        assert one.top[0].token == one.token
        assert len(one.top) == 2


def test_biases_and_penalties(engine):
    first = engine.generate(QUESTION, temperature=0, max_tokens=1, logprobs=True).logprobs[0].token
    other = engine.generate(
        QUESTION, temperature=0, max_tokens=1, logprobs=True, logit_bias={f"{first}": -100}
    )
    assert other.logprobs[0].token != first
    again = engine.generate("hi", temperature=0, max_tokens=8, logit_bias={first: 100})
    assert engine.processor.tokenizer.encode(again.reasoning).count(first) >= 7
    options = {"temperature": 0, "max_tokens": 8, "logit_bias": {first: 40}}
    held = engine.generate("hi", **options, frequency_penalty=2.0, presence_penalty=2.0)
    assert held.reasoning
    seen = []
    engine.generate(
        "hi", max_tokens=3, logits_processors=lambda ids, logits: seen.append(ids.size) or logits
    )
    assert seen[:3] == [0, 1, 2]  # the answer so far; the loop computes one ahead


def test_several_answers_and_several_prompts(engine):
    options = {"temperature": 20.0, "top_k": 40, "seed": 7, "max_tokens": 6}
    done = engine.generate(QUESTION, n=3, **options)
    assert len(done.alternatives) == 2
    second = engine.generate(QUESTION, **{**options, "seed": 8})
    assert done.alternatives[0].reasoning == second.reasoning
    assert len({one.reasoning for one in (done, *done.alternatives)}) == 3
    both = engine.generate([QUESTION, "hi"], temperature=0, max_tokens=5)
    assert [one.reasoning for one in both] == [
        engine.generate(one, temperature=0, max_tokens=5).reasoning for one in (QUESTION, "hi")
    ]
    with pytest.raises(PromptError, match="n is 0"):
        engine.generate(QUESTION, n=0)


def test_json_that_was_cut_says_so(engine):
    cut = engine.generate(QUESTION, response_format="json", max_tokens=3)
    assert cut.finish_reason == "length"
    with pytest.raises(PromptError, match="cut off"):
        _ = cut.parsed


def test_an_engine_is_closed_and_says_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path))
    with ds.load("nano") as engine:
        assert repr(engine).startswith("<Engine nano: deepseek_v3, r1_chat, ")
        with engine.stream("hi", max_tokens=50) as stream:
            next(stream)
        assert next(stream, None) is None
        assert repr(engine.chat()) == "<Chat with nano: 0 messages>"
    assert "closed" in repr(engine)
    engine.close()
    for call in (lambda: engine.generate("hi"), engine.new_cache, engine.chat):
        with pytest.raises(PromptError, match="closed"):
            call()


def test_names_are_found():
    assert set(ds.__all__) <= set(dir(ds))
    for error in ("PromptError", "ConfigError", "CheckpointError", "ImageError", "LeanError"):
        assert issubclass(getattr(ds, error), ds.DeepSeekError)
    assert (Path(ds.__file__).parent / "py.typed").is_file()
    for function in (ds.Engine.generate, ds.Engine.stream, ds.Engine.chat, ds.Chat.say):
        names = inspect.signature(function).parameters
        assert {"temperature", "seed", "stop", "images", "max_tokens"} <= names.keys()
        assert not any(p.kind is p.VAR_KEYWORD for p in names.values())
    with pytest.raises(AttributeError):
        _ = ds.no_such_name
