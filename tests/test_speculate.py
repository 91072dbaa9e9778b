"""Speculation: whatever is drafted, the model's own text comes out, token for token."""

import math
from collections import Counter

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlx_deepseek import Caching, Sampling, load, models
from mlx_deepseek.cache import KeptCache
from mlx_deepseek.errors import ConfigError
from mlx_deepseek.generate import Request, tokens
from mlx_deepseek.nano.tasks import FAMILIES, evaluation_problems
from mlx_deepseek.pace import DEEPEST, Pace
from mlx_deepseek.speculate import ModelDrafter, MTPDrafter
from mlx_deepseek_convert import weights

QUESTIONS = [p.question for family in FAMILIES for p in evaluation_problems(family, 2)]
GREEDY = Sampling(temperature=0.0)
WILD = Sampling(temperature=1.5, top_p=0.95, seed=3)
FORGETFUL = Sampling(temperature=0.0, repetition_penalty=1.3)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load("nano", caching=Caching(speculate=0))


@pytest.fixture(scope="module")
def golden_model(goldens_root, golden_config):
    """A model whose MTP layer is untrained: nearly every draft is wrong."""
    model = models.build(golden_config("deepseek_v3"))
    model.load_weights(list(weights(goldens_root / "deepseek_v3", "float32")), strict=True)
    return model


def written(model, ids, kept, sampling=GREEDY, count=48, stop=()):
    request = Request(ids, count, sampling.filled(None, None), frozenset(stop))
    steps = list(tokens(model, request, kept))
    return [step.token for step in steps if step.token is not None], steps[-1].usage


class Scripted(Pace):
    """Depths in turn, pauses included."""

    def __init__(self, *depths):
        super().__init__()
        self.depths = depths

    def depth(self):
        self.rounds += 1
        return self.depths[self.rounds % len(self.depths)]


@pytest.mark.parametrize("depth", [1, 3, 5])
@pytest.mark.parametrize("sampling", [GREEDY, WILD, FORGETFUL])
def test_nano_writes_what_it_writes_without_drafts(engine, depth, sampling):
    drafter = MTPDrafter(engine.model, depth)
    accepted = 0
    for question in QUESTIONS[::4]:
        ids, stop = engine._prompter.render(question).ids, engine.tokenizer.eos_token_ids
        plain, _ = written(engine.model, ids, KeptCache(engine.model), sampling, stop=stop)
        kept = KeptCache(engine.model, drafter=drafter)
        drafted, usage = written(engine.model, ids, kept, sampling, stop=stop)
        assert drafted == plain, question
        accepted += usage.accepted_tokens
    assert accepted > 20


@pytest.mark.parametrize("depths", [(1,), (3,), (0, 2, 1), (0,)])
def test_wrong_drafts_and_pauses_change_nothing(golden_model, depths):
    drafter = MTPDrafter(golden_model)
    drafter.pace = Scripted(*depths)
    for seed in range(2):
        ids = mx.random.randint(3, 250, (9,), key=mx.random.key(seed)).tolist()
        for sampling in (GREEDY, Sampling(temperature=1.0, seed=seed)):
            plain, _ = written(golden_model, ids, KeptCache(golden_model), sampling, 30)
            kept = KeptCache(golden_model, drafter=drafter)
            assert written(golden_model, ids, kept, sampling, 30)[0] == plain


@pytest.mark.parametrize("bits", [8, 4])
def test_drafts_from_a_quantized_cache(engine, bits):
    for question in QUESTIONS[::9]:
        ids = engine._prompter.render(question).ids
        plain, _ = written(engine.model, ids, KeptCache(engine.model, bits=bits))
        kept = KeptCache(engine.model, bits=bits, drafter=MTPDrafter(engine.model, 2))
        assert written(engine.model, ids, kept)[0] == plain


def test_the_distribution_is_the_models_own(golden_model):
    """Of two tokens after a fixed prompt: exact by chi-squared, drafts accepted or not."""
    ids = [5, 9, 77, 31]

    def probabilities(prompt):
        logits = golden_model(mx.array([prompt]))[0, -1]
        best = mx.argsort(-logits)[:3].tolist()
        values = mx.softmax(logits[mx.array(best)] / 0.4).tolist()
        return dict(zip(best, values, strict=True))

    expected = {
        (first, second): p * q
        for first, p in probabilities(ids).items()
        for second, q in probabilities([*ids, first]).items()
    }
    draws, seen = 1000, Counter()
    drafter = MTPDrafter(golden_model, 2)
    kept = KeptCache(golden_model, drafter=drafter)
    for seed in range(draws):
        fixed = Sampling(temperature=0.4, top_k=3, seed=seed)
        pair, _ = written(golden_model, ids, kept, fixed, count=2)
        seen[tuple(pair)] += 1
    assert seen.keys() <= expected.keys()
    statistic = sum((seen[pair] - draws * p) ** 2 / (draws * p) for pair, p in expected.items())
    degrees = len(expected) - 1
    assert statistic < degrees + 5 * math.sqrt(2 * degrees)  # five standard deviations


def test_a_closed_stream_can_be_continued(engine):
    drafter = MTPDrafter(engine.model, 2)
    ids = engine._prompter.render(QUESTIONS[0]).ids
    plain, _ = written(engine.model, ids, KeptCache(engine.model))
    for stop_after in range(1, 12, 2):
        kept = KeptCache(engine.model, drafter=drafter)
        request = Request(ids, 48, GREEDY, frozenset())
        stream = tokens(engine.model, request, kept)
        begun = [step.token for step, _ in zip(stream, range(stop_after + 1), strict=False)]
        begun = [token for token in begun if token is not None]
        stream.close()
        rest, usage = written(engine.model, [*ids, *begun], kept, count=48 - len(begun))
        assert [*begun, *rest] == plain
        assert usage.cached_tokens >= len(ids) - 1


def test_a_draft_model_changes_nothing(engine):
    twin = engine.model
    mx.random.seed(0)
    weak = load_like(engine)
    for draft in (twin, weak):
        ids = engine._prompter.render(QUESTIONS[4]).ids
        plain, _ = written(engine.model, ids, KeptCache(engine.model))
        kept = KeptCache(engine.model, drafter=ModelDrafter(draft))
        drafted, usage = written(engine.model, ids, kept)
        assert drafted == plain
        assert usage.drafted_tokens >= usage.accepted_tokens
        again, usage = written(engine.model, ids, kept)
        assert again == plain
        assert usage.cached_tokens == len(ids) - 1


def load_like(engine) -> nn.Module:
    """A model with nano's vocabulary that knows nothing."""
    config = {**engine.config, "num_hidden_layers": 1, "num_nextn_predict_layers": 0}
    model = models.build(config)
    mx.eval(model.parameters())
    return model


def test_a_draft_model_of_another_vocabulary_is_refused(goldens_root):
    with pytest.raises(ConfigError, match="vocabulary"):
        load("nano", draft=goldens_root / "deepseek_v3", dtype="float32")


def test_pace_takes_what_pays():
    pace = Pace()
    for _ in range(200):
        depth = pace.depth()
        pace.note(depth, depth, 1.0 + 0.1 * depth)
    assert pace.best == DEEPEST
    for _ in range(400):  # from now on every draft is wrong
        depth = pace.depth()
        pace.note(depth, 0, 1.0 + 0.1 * depth)
    assert pace.best == 0


def test_pace_goes_no_deeper_than_pays():
    pace, tried = Pace(), set()
    for _ in range(200):
        depth = pace.depth()
        tried.add(depth)
        pace.note(depth, min(depth, 1), 1.0 + 0.1 * depth)  # every second draft is wrong
    assert pace.best == 1
    assert max(tried) <= 3


def test_pace_switches_off_where_rounds_are_slow():
    pace = Pace()
    for _ in range(100):
        depth = pace.depth()
        pace.note(depth, depth, 1.0 + 2.0 * depth)
    assert pace.best == 0
