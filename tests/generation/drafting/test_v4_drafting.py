"""V4's drafters, an MTP layer or DSpark: the text is the model's own, whatever they guess."""

import pytest

from mlx_deepseek import models
from mlx_deepseek.cache.prompt_cache import PromptCache
from mlx_deepseek.checkpoint.token_map import attach_token_map
from mlx_deepseek.generation.drafting.dspark import DSparkDrafter
from mlx_deepseek.generation.drafting.mtp import MTPDrafter
from mlx_deepseek_convert import weights
from tests.generation.drafting.test_drafting import GREEDY, WILD, Scripted, written

CASES = {
    "deepseek_v4_fp4": MTPDrafter,
    "deepseek_v4_vision": DSparkDrafter,
    "deepseek_v41": DSparkDrafter,
}


@pytest.fixture(scope="module", params=CASES)
def case(request, goldens_root, golden_config, goldens):
    model = models.build(golden_config(request.param))
    model.load_weights(list(weights(goldens_root / request.param, "float32")), strict=True)
    attach_token_map(model, goldens_root / request.param)
    return model, CASES[request.param], goldens(request.param)["input_ids"][0].tolist()


@pytest.mark.parametrize("sampling", [GREEDY, WILD], ids=["greedy", "seeded"])
def test_drafts_change_nothing(case, sampling):
    model, kind, ids = case
    prompt = ids[:21]
    expected, _ = written(model, prompt, PromptCache(model), sampling, 14)
    for length in (2, 5):
        drafter = kind(model, length)
        text, usage = written(model, prompt, PromptCache(model, drafter=drafter), sampling, 14)
        assert text == expected
        assert usage.drafted_tokens > 0


def test_turns_with_pauses_between_drafts(case):
    """Each prompt goes on from the last one's cache, also where it takes tokens back."""
    model, kind, ids = case
    drafter = kind(model)
    drafter.length = Scripted(2, 0, 3)
    cache = PromptCache(model, drafter=drafter)
    for prompt in (ids[:9], ids[:30], ids[:25]):
        expected, _ = written(model, prompt, PromptCache(model), GREEDY, 7)
        text, _ = written(model, prompt, cache, GREEDY, 7)
        assert text == expected
    assert written(model, ids[:40], cache, GREEDY, 3)[1].cached_tokens >= 24
