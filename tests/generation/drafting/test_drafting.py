"""Speculation: whatever is drafted, the model's own text comes out, token for token."""

import math
from collections import Counter

import mlx.core as mx
import mlx.nn as nn
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek import Caching, Sampling, load, models
from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.checkpoint.room import loaded_bytes
from mlx_deepseek.errors import ConfigError, MemoryLimitError
from mlx_deepseek.generation.decode import tokens
from mlx_deepseek.generation.drafting.draft_length import DEEPEST, DraftLength
from mlx_deepseek.generation.drafting.dspark import DSparkDrafter
from mlx_deepseek.generation.drafting.mtp import MTPDrafter
from mlx_deepseek.generation.drafting.small_model import ModelDrafter
from mlx_deepseek.generation.request import Request
from mlx_deepseek.nano.tasks import FAMILIES, evaluation_problems
from mlx_deepseek.runtime import memory
from mlx_deepseek_convert import weights
from tests.breadth import BREADTH, examples

QUESTIONS = [p.question for family in FAMILIES for p in evaluation_problems(family, 2)]
GREEDY = Sampling(temperature=0.0)
WILD = Sampling(temperature=1.5, top_p=0.95, seed=3)
FORGETFUL = Sampling(temperature=0.0, repetition_penalty=1.3)


@pytest.fixture(scope="module")
def engine():
    return load("nano", caching=Caching(speculate=0))


@pytest.fixture(scope="module")
def golden_model(goldens_root, golden_config):
    """A model whose MTP layer is untrained: nearly every draft is wrong."""
    model = models.build(golden_config("deepseek_v3"))
    model.load_weights(list(weights(goldens_root / "deepseek_v3", "float32")), strict=True)
    return model


@pytest.fixture(scope="module")
def plain(engine):
    """What a model writes without drafts, worked out once: nano, where none is given."""
    found = {}

    def write(ids, *how, model=engine.model, bits=None, **options):
        key = (id(model), bits, tuple(ids), repr((how, options)))
        if key not in found:
            found[key] = written(model, ids, PromptCache(model, bits=bits), *how, **options)[0]
        return found[key]

    return write


def written(model, ids, kept, sampling=GREEDY, count=48, stop=()):
    request = Request(ids, count, sampling.filled(None, None), frozenset(stop))
    steps = list(tokens(model, request, kept))
    return [step.token for step in steps if step.token is not None], steps[-1].usage


class Scripted(DraftLength):
    """Depths in turn, pauses included."""

    def __init__(self, *depths):
        super().__init__()
        self.depths = depths

    def next(self):
        self.steps += 1
        return self.depths[self.steps % len(self.depths)]


@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("sampling", [GREEDY, WILD, FORGETFUL])
def test_nano_writes_what_it_writes_without_drafts(engine, plain, depth, sampling):
    drafter = MTPDrafter(engine.model, depth)
    accepted = 0
    for question in QUESTIONS[:: max(1, 8 // BREADTH)]:
        ids, stop = engine.processor.encode(question).ids, engine.tokenizer.eos_token_ids
        kept = PromptCache(engine.model, drafter=drafter)
        drafted, usage = written(engine.model, ids, kept, sampling, stop=stop)
        assert drafted == plain(ids, sampling, stop=stop), question
        accepted += usage.accepted_tokens
    assert accepted > 20


@pytest.mark.parametrize("depths", [(1,), (3,), (0, 2, 1), (0,)])
def test_wrong_drafts_and_pauses_change_nothing(golden_model, plain, depths):
    drafter = MTPDrafter(golden_model)
    drafter.length = Scripted(*depths)
    for seed in range(2):
        ids = mx.random.randint(3, 250, (9,), key=mx.random.key(seed)).tolist()
        for sampling in (GREEDY, Sampling(temperature=1.0, seed=seed)):
            kept = PromptCache(golden_model, drafter=drafter)
            found, _ = written(golden_model, ids, kept, sampling, 30)
            assert found == plain(ids, sampling, 30, model=golden_model)


@pytest.mark.parametrize("bits", [8, 4])
def test_drafts_from_a_quantized_cache(engine, plain, bits):
    for question in QUESTIONS[:: max(1, 18 // BREADTH)]:
        ids = engine.processor.encode(question).ids
        kept = PromptCache(engine.model, bits=bits, drafter=MTPDrafter(engine.model, 2))
        assert written(engine.model, ids, kept)[0] == plain(ids, bits=bits)


@pytest.fixture(scope="module")
def block_model(goldens_root, golden_config):
    model = models.build(golden_config("deepseek_v4_vision"))
    model.load_weights(list(weights(goldens_root / "deepseek_v4_vision", "float32")), strict=True)
    return model


@pytest.mark.parametrize("kind", [MTPDrafter, DSparkDrafter])
def test_the_distribution_is_the_models_own(kind, golden_model, block_model):
    """Of two tokens after a fixed prompt: by chi-squared, drafts accepted or not.

    That a seed's tokens are those without drafts, the tests beside this one show one by one.
    """
    ids, model = [5, 9, 77, 31], golden_model if kind is MTPDrafter else block_model

    def probabilities(prompt):
        logits = model(mx.array([prompt]))[0, -1]
        best = mx.argsort(-logits)[:3].tolist()
        values = mx.softmax(logits[mx.array(best)] / 0.4).tolist()
        return dict(zip(best, values, strict=True))

    expected = {
        (first, second): p * q
        for first, p in probabilities(ids).items()
        for second, q in probabilities([*ids, first]).items()
    }
    draws, seen = examples(300 if kind is MTPDrafter else 150), Counter()
    drafter = kind(model, 2)
    kept = PromptCache(model, drafter=drafter)
    for seed in range(draws):
        fixed = Sampling(temperature=0.4, top_k=3, seed=seed)
        pair, _ = written(model, ids, kept, fixed, count=2)
        seen[tuple(pair)] += 1
    assert seen.keys() <= expected.keys()
    statistic = sum((seen[pair] - draws * p) ** 2 / (draws * p) for pair, p in expected.items())
    degrees = len(expected) - 1
    assert statistic < degrees + 5 * math.sqrt(2 * degrees)  # five standard deviations


def test_a_closed_stream_can_be_continued(engine, plain):
    drafter = MTPDrafter(engine.model, 2)
    ids = engine.processor.encode(QUESTIONS[0]).ids
    for stop_after in range(1, 12, 2):
        kept = PromptCache(engine.model, drafter=drafter)
        request = Request(ids, 48, GREEDY, frozenset())
        stream = tokens(engine.model, request, kept)
        begun = [step.token for step, _ in zip(stream, range(stop_after + 1), strict=False)]
        begun = [token for token in begun if token is not None]
        stream.close()
        rest, usage = written(engine.model, [*ids, *begun], kept, count=48 - len(begun))
        assert [*begun, *rest] == plain(ids)
        assert usage.cached_tokens >= len(ids) - 1


@pytest.mark.parametrize("sampling", [GREEDY, WILD, FORGETFUL])
@pytest.mark.parametrize("depth", [3, None])
def test_a_draft_model_changes_nothing(engine, plain, sampling, depth):
    twin = engine.model
    mx.random.seed(0)
    weak = load_like(engine)
    for draft in (twin, weak):
        for question in QUESTIONS[4:5]:
            ids = engine.processor.encode(question).ids
            kept = PromptCache(engine.model, drafter=ModelDrafter(draft, depth))
            drafted, usage = written(engine.model, ids, kept, sampling)
            assert drafted == plain(ids, sampling)
            assert usage.drafted_tokens >= usage.accepted_tokens
            again, usage = written(engine.model, ids, kept, sampling)
            assert again == plain(ids, sampling)
            assert usage.cached_tokens == len(ids) - 1


@pytest.fixture(scope="module")
def drafting(engine):
    """Engines as the first one, that draft: with the MTP layer, and with a model of their own."""
    own = load("nano", caching=Caching(speculate=3))
    return [own, load("nano", draft="nano", caching=Caching(speculate=2))]


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


@settings(deadline=None, max_examples=examples(8))
@given(
    question=st.sampled_from(QUESTIONS),
    sampling=st.builds(
        Sampling,
        temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
        top_p=st.sampled_from([1.0, 0.9]),
        top_k=st.sampled_from([0, 5]),
        min_p=st.sampled_from([0.0, 0.05]),
        repetition_penalty=st.sampled_from([None, 0.8, 1.3]),
        seed=st.integers(0, 2**64 - 1),
    ),
    stop=st.sampled_from([(), ("\n",), ("1", " the")]),
    count=st.integers(1, 16),
    schema=st.booleans(),
)
def test_drafting_changes_nothing_that_is_asked(
    engine, drafting, question, sampling, stop, count, schema
):
    shape = {"type": "json_schema", "json_schema": {"schema": SCHEMA}} if schema else None
    options = {"sampling": sampling, "stop": stop, "max_tokens": count, "response_format": shape}
    plain = engine.generate(question, **options)
    for other in drafting:
        for _ in range(2):  # from nothing, then from the cached prompt
            answer = other.generate(question, **options)
            assert (answer.text, answer.reasoning) == (plain.text, plain.reasoning)
            assert answer.finish_reason == plain.finish_reason
            assert answer.usage.completion_tokens == plain.usage.completion_tokens


def test_a_draft_model_counts_in_memory(engine, monkeypatch):
    machine = int(loaded_bytes(engine.folder) * 1.5 * 8 / 7)
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: machine)
    monkeypatch.setattr(mx, "get_active_memory", lambda: 0)
    load("nano")
    with pytest.raises(MemoryLimitError, match="beside"):
        load("nano", draft="nano")


def load_like(engine) -> nn.Module:
    """A model with nano's vocabulary that knows nothing."""
    config = {**engine.config, "num_hidden_layers": 1, "num_nextn_predict_layers": 0}
    model = models.build(config)
    mx.eval(model.parameters())
    return model


def test_a_draft_model_of_another_vocabulary_is_refused(goldens_root):
    with pytest.raises(ConfigError, match="vocabulary"):
        load("nano", draft=goldens_root / "deepseek_v3", dtype="float32")


def test_draft_length_takes_what_pays():
    length = DraftLength()
    for _ in range(200):
        depth = length.next()
        length.note(depth, depth, 1.0 + 0.1 * depth)
    assert length.best == DEEPEST
    for _ in range(400):  # from now on every draft is wrong
        depth = length.next()
        length.note(depth, 0, 1.0 + 0.1 * depth)
    assert length.best == 0


def test_draft_length_goes_no_deeper_than_pays():
    length, tried = DraftLength(), set()
    for _ in range(200):
        depth = length.next()
        tried.add(depth)
        length.note(depth, min(depth, 1), 1.0 + 0.1 * depth)  # every second draft is wrong
    assert length.best == 1
    assert max(tried) <= 3


def test_draft_length_switches_off_where_rounds_are_slow():
    length = DraftLength()
    for _ in range(100):
        depth = length.next()
        length.note(depth, depth, 1.0 + 2.0 * depth)
    assert length.best == 0
