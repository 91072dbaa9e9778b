"""The engine on the embedded model: streams, stops, limits, caches, threads, mlx-lm's functions."""

import gc
import subprocess
import sys
import threading
import weakref
from itertools import islice

import mlx.core as mx
import mlx_lm
import pytest
from mlx_lm.models.cache import (
    load_prompt_cache,
    make_prompt_cache,
    save_prompt_cache,
    trim_prompt_cache,
)
from mlx_lm.tuner.utils import linear_to_lora_layers

from mlx_deepseek import Engine, Sampling, load, prompts
from mlx_deepseek.errors import CheckpointError, ConfigError, DeepSeekError, PromptError

QUESTION = "What is 347 + 586?"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load("nano")


def output(engine: Engine, prompt, **options) -> str:
    """All text that the model writes, reasoning and answer."""
    done = engine.generate(prompt, **options)
    return done.reasoning + "|" + done.text


def test_stream_is_generate_in_pieces(engine):
    whole = engine.generate(QUESTION, max_tokens=40)
    chunks = list(engine.stream(QUESTION, max_tokens=40))
    assert "".join(c.text for c in chunks) == whole.text
    assert "".join(c.reasoning for c in chunks) == whole.reasoning
    assert [c.finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == whole.finish_reason
    assert whole.reasoning


def test_text_and_messages_are_the_same_prompt(engine):
    messages = [{"role": "user", "content": QUESTION}]
    assert output(engine, QUESTION) == output(engine, messages)


def test_greedy_is_mlx_lms_greedy(engine):
    prompt = engine.prompt_format.render([{"role": "user", "content": QUESTION}])
    theirs = mlx_lm.generate(engine.model, engine.tokenizer, engine.encode(prompt), max_tokens=30)
    done = engine.generate(QUESTION, max_tokens=30)
    assert theirs.startswith(done.reasoning)
    assert done.text.strip() in theirs


def test_usage(engine):
    usage = engine.generate(QUESTION, max_tokens=12).usage
    assert usage.completion_tokens == 12
    assert usage.prompt_tokens == len(engine.encode(render(engine, QUESTION)))
    assert usage.generation_tps > 0
    assert usage.peak_memory_bytes > 0


def render(engine: Engine, text: str) -> str:
    return engine.prompt_format.render([{"role": "user", "content": text}])


def test_max_tokens_finishes_by_length(engine):
    done = engine.generate(QUESTION, max_tokens=3)
    assert (done.finish_reason, done.usage.completion_tokens) == ("length", 3)
    with pytest.raises(PromptError, match="max_tokens"):
        engine.generate(QUESTION, max_tokens=0)


def test_window_bounds_prompt_and_answer(engine, monkeypatch):
    monkeypatch.setattr(engine, "context_length", 24)
    prompt_tokens = engine.generate(QUESTION).usage.prompt_tokens
    done = engine.generate(QUESTION, max_tokens=1000, sampling=Sampling(temperature=5.0, seed=1))
    assert done.usage.completion_tokens <= 24 - prompt_tokens
    with pytest.raises(PromptError, match="context window of 24"):
        engine.generate(QUESTION * 9)


def test_prompt_errors_come_before_the_first_chunk(engine):
    with pytest.raises(PromptError):
        engine.stream([])
    with pytest.raises(PromptError):
        engine.stream([{"role": "wizard", "content": "hi"}])


def test_a_stop_string_across_tokens_ends_and_is_not_shown(engine):
    full = engine.generate(QUESTION, max_tokens=60).reasoning
    for start in range(2, len(full) - 4, 5):
        stop = full[start : start + 4]
        done = engine.generate(QUESTION, max_tokens=60, stop=stop)
        assert done.reasoning == full[: full.index(stop)].rstrip()
        assert (done.text, done.finish_reason) == ("", "stop")


def test_a_seed_repeats_whatever_else_is_generated(engine):
    sampling = Sampling(temperature=20.0, top_k=40, seed=7)
    first = output(engine, QUESTION, sampling=sampling, max_tokens=30)
    stream = engine.stream(QUESTION, sampling=sampling, max_tokens=30)
    pieces = []
    for chunk in stream:
        pieces.append(chunk)
        engine.generate("hi", sampling=Sampling(temperature=20.0), max_tokens=2)
    again = "".join(c.reasoning for c in pieces) + "|" + "".join(c.text for c in pieces)
    assert again == first
    other = Sampling(temperature=20.0, top_k=40, seed=8)
    assert output(engine, QUESTION, sampling=other, max_tokens=30) != first


def test_repetition_penalty_sees_the_prompt_even_when_it_is_cached(engine):
    options = {"sampling": Sampling(temperature=0, repetition_penalty=1.8), "max_tokens": 20}
    engine._caches.snapshots.idle.clear()
    fresh = engine.generate(QUESTION, **options)
    cached = engine.generate(QUESTION, **options)
    assert cached.usage.cached_tokens == fresh.usage.prompt_tokens - 1
    assert (cached.reasoning, cached.text) == (fresh.reasoning, fresh.text)


def test_a_shared_prefix_comes_from_the_cache_and_changes_nothing(engine):
    history = [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "933"},
        {"role": "user", "content": "Sort 42, 7, 93 from largest to smallest."},
    ]
    fresh_engine_ids = engine.encode(engine.prompt_format.render(history))
    engine._caches.snapshots.idle.clear()
    fresh = engine.generate(history, max_tokens=40)
    engine.generate(history[:1], max_tokens=40)
    cached = engine.generate(history, max_tokens=40)
    assert fresh.usage.cached_tokens == 0
    assert 0 < cached.usage.cached_tokens < len(fresh_engine_ids)
    assert (cached.reasoning, cached.text) == (fresh.reasoning, fresh.text)


def test_closing_a_stream_stops_and_leaves_the_engine_usable(engine):
    expected = output(engine, QUESTION, max_tokens=40)
    stream = engine.stream(QUESTION, max_tokens=200)
    next(stream)
    stream.close()
    assert next(stream, None) is None
    assert not engine.activity
    assert output(engine, QUESTION, max_tokens=40) == expected


def test_a_long_prompt_can_be_stopped_while_it_is_read(engine, monkeypatch):
    monkeypatch.setattr(engine, "context_length", 4096)
    stream = engine.stream("one two three " * 400, max_tokens=5)
    first = next(stream)
    assert (first.text, first.reasoning, first.usage.completion_tokens) == ("", "", 0)
    stream.close()
    idle = engine._caches.snapshots.idle
    (cache,) = (one for one in idle if len(one.ids) == first.usage.prompt_tokens)
    assert 0 < cache.cached_tokens < first.usage.prompt_tokens


def test_two_open_streams_do_not_mix(engine):
    questions = [QUESTION, "Convert 7 hours to minutes."]
    expected = [output(engine, question, max_tokens=30) for question in questions]
    streams = [engine.stream(question, max_tokens=30) for question in questions]
    written = [{"reasoning": "", "text": ""} for _ in questions]
    alive = True
    while alive:
        alive = False
        for stream, parts in zip(streams, written, strict=True):
            chunk = next(stream, None)
            if chunk is not None:
                alive = True
                parts["reasoning"] += chunk.reasoning
                parts["text"] += chunk.text
    assert [parts["reasoning"] + "|" + parts["text"] for parts in written] == expected


def test_many_threads(engine):
    expected = output(engine, QUESTION, max_tokens=15)
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda: results.append(output(engine, QUESTION, max_tokens=15)))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [expected] * 5


def test_one_stream_advanced_by_different_threads(engine):
    """As Starlette and Gradio do with plain generators."""
    expected = output(engine, QUESTION, max_tokens=15)
    stream, chunks = engine.stream(QUESTION, max_tokens=15), []
    while True:
        items: list = []
        thread = threading.Thread(target=lambda items=items: items.append(next(stream, None)))
        thread.start()
        thread.join(60)
        if items[0] is None:
            break
        chunks.append(items[0])
    assert "".join(c.reasoning for c in chunks) + "|" + "".join(c.text for c in chunks) == expected


def test_loaded_in_one_thread_the_model_computes_in_another(engine):
    ids, results = mx.array([[1, 2, 3]]), []

    def compute() -> None:
        results.append(mx.sum(engine.model(ids)).item())

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join(60)
    assert results == [mx.sum(engine.model(ids)).item()]


def test_a_dropped_engine_frees_its_model(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path))
    engine = load("nano")
    engine.generate("hi", max_tokens=1)
    model = weakref.ref(engine.model)
    del engine
    gc.collect()
    assert model() is None


def test_a_process_that_has_computed_ends_well(engine):
    code = (
        "import sys, mlx_deepseek as ds; engine = ds.load(sys.argv[1]);"
        "stream = engine.stream('hi', max_tokens=50); next(stream); engine.logits([1, 2])"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(engine.folder)], capture_output=True)
    assert ended.returncode == 0, ended.stderr.decode()


def test_logits_of_ids_text_and_messages(engine):
    ids = engine.encode(render(engine, QUESTION))
    logits = engine.logits(ids)
    assert (logits.dtype, logits.shape[0]) == (mx.float32, len(ids))
    assert mx.array_equal(logits, engine.logits(mx.array(ids)))
    assert mx.array_equal(logits, engine.logits(QUESTION))
    assert mx.allclose(logits, engine.model(mx.array([ids]))[0], atol=1e-5)
    ahead = engine.mtp_logits(ids)
    assert ahead.shape == (len(ids) - 1, logits.shape[1])
    with pytest.raises(PromptError):
        engine.logits([])


def test_parity_load_needs_no_tokenizer(goldens_root, goldens):
    golden = goldens("deepseek_v2_lite")
    engine = load(goldens_root / "deepseek_v2_lite", dtype="float32")
    got, want = engine.logits(golden["input_ids"]), golden["logits"][0]
    assert float(mx.abs(got - want).max() / mx.sqrt(mx.var(want))) <= 1e-4
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        engine.generate("hi")
    with pytest.raises(ConfigError, match="no multi-token"):
        engine.mtp_logits([1, 2, 3])


def test_completing_text_without_a_chat(engine):
    done = engine.complete("12 + 30 =", max_tokens=5)
    assert done.reasoning == ""
    assert done.usage.completion_tokens <= 5
    with pytest.raises(PromptError, match="fill-in"):
        engine.complete("def f(", "):\n")


def test_tokens_of_reasoning_are_counted(engine):
    done = engine.generate(QUESTION, sampling=Sampling(temperature=0.0))
    thought = len(engine.encode(done.reasoning))
    assert thought <= done.usage.reasoning_tokens <= thought + 4  # marker and blanks
    assert done.usage.reasoning_tokens < done.usage.completion_tokens
    assert engine.complete("12 + 30 =", max_tokens=5).usage.reasoning_tokens == 0


def test_filling_in_with_files_around(engine, monkeypatch):
    """nano's tokenizer has the markers; with a format that uses them the model is asked."""
    assert not engine.fills
    monkeypatch.setattr(engine.processor, "format", prompts.get("coder_v1_base"))
    assert engine.fills
    options = {"files": [("a.py", "A = 1")], "path": "b.py"}
    text = engine.tokenizer.decode(engine._completion("def f(", "):\n", options).request.ids)
    assert text.endswith(
        "<｜fim▁begin｜>#a.py\nA = 1\n\n#b.py\ndef f(<｜fim▁hole｜>):\n<｜fim▁end｜>"
    )
    monkeypatch.undo()
    monkeypatch.setattr(engine.processor, "format", prompts.get("coder_v1_base"))
    pieces = list(engine.stream_completion("12 + ", " = 42", max_tokens=6))
    assert pieces[-1].finish_reason in ("stop", "length")
    assert 1 <= pieces[-1].usage.completion_tokens <= 6


def test_recipe_for_a_quantized_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path))
    quantized = load("nano", recipe="4bit").folder
    with pytest.raises(CheckpointError, match="quantized already"):
        load(quantized, recipe="8bit")


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("nanno", "Did you mean nano"),
        ("DeepSeek-R1-Distill-Qwen-8B", "Did you mean deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),
        ("./no/such/folder", "no such folder"),
        ("", "no such folder"),
    ],
)
def test_unknown_names(source, match):
    with pytest.raises(DeepSeekError, match=match):
        load(source)


def test_unknown_dtype():
    with pytest.raises(ConfigError, match="int8"):
        load("nano", dtype="int8")


# -- mlx-lm's functions on engine.model and engine.tokenizer ----------------------------------


def test_batch_generate(engine):
    questions = [QUESTION, "Convert 7 hours to minutes.", "Who are you?"]
    prompts = [engine.encode(render(engine, question)) for question in questions]
    batch = mlx_lm.batch_generate(engine.model, engine.tokenizer, prompts, max_tokens=20)
    for prompt, text in zip(prompts, batch.texts, strict=True):
        alone = mlx_lm.generate(engine.model, engine.tokenizer, prompt, max_tokens=20)
        assert text.strip() == alone.strip()


def test_prompt_cache_is_saved_loaded_and_trimmed(engine, tmp_path):
    ids = mx.array([engine.encode(render(engine, QUESTION))])
    cache = make_prompt_cache(engine.model)
    engine.model(ids[:, :-1], cache=cache)
    save_prompt_cache(str(tmp_path / "cache.safetensors"), cache)
    loaded = load_prompt_cache(str(tmp_path / "cache.safetensors"))
    expected = engine.model(ids)[:, -1]
    assert mx.allclose(engine.model(ids[:, -1:], cache=loaded)[:, -1], expected, atol=1e-3)
    assert trim_prompt_cache(loaded, 4) == 4
    assert mx.allclose(engine.model(ids[:, -4:], cache=loaded)[:, -1], expected, atol=1e-3)


@pytest.mark.parametrize("recipe", ["bf16", "4bit"])
def test_lora(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path))
    engine = load("nano", recipe=recipe)
    before = engine.logits([1, 2, 3])
    engine.model.freeze()
    linear_to_lora_layers(engine.model, 2, {"rank": 4, "scale": 10.0, "dropout": 0.0})
    trainable = engine.model.trainable_parameters()
    assert trainable
    assert mx.allclose(engine.logits([1, 2, 3]), before, atol=1e-4)
    assert list(islice(engine.stream("hi", max_tokens=3), 2))


@pytest.mark.parametrize("cut", ["347", "347+586\nones 7+6=13 carry 1\ntens 4+8+1", None])
def test_an_answer_that_was_cut_off_is_gone_on_with(engine, cut):
    whole = engine.generate(QUESTION)
    begun = whole.message | {"prefix": True, "content": ""}
    begun["reasoning_content"] = whole.reasoning if cut is None else cut
    assert whole.reasoning.startswith(begun["reasoning_content"])
    rest = engine.generate([{"role": "user", "content": QUESTION}, begun])
    assert begun["reasoning_content"] + rest.reasoning == whole.reasoning
    assert rest.text == whole.text
