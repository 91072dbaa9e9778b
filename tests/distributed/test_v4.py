"""V4 and V4.1 on several processes: what is theirs alone, beside the cases of `test_split`."""

import numpy as np
import pytest

from tests.breadth import wide
from tests.distributed.rank0 import GREEDY, PROMPTS, SEEDED, load, pictured

SPLITS = ["pipeline", *wide("tensor")]


@pytest.mark.parametrize("split", SPLITS)
def test_entries_are_quantized_on_both(two, alone, goldens_root, split):
    """The same tokens, in a batch and alone with drafts, from entries of 8 bits."""
    load(two, goldens_root, "deepseek_v41", split=split, caching={"bits": 8})
    for prompts, sampling in ((PROMPTS, SEEDED), (PROMPTS[2:], GREEDY)):
        found = two("tokens", prompts=prompts, count=8, sampling=sampling)
        assert found == alone("deepseek_v41", sampling, prompts, bits=8)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("case", ["deepseek_v4_vision", "deepseek_v41"])
def test_all_know_what_is_a_picture(two, alone, goldens_root, case, split):
    """Routing, masks and Engram differ there: other numbers than for text, the same on two."""
    load(two, goldens_root, case, split=split)
    ids = [7, 3, -1, -2, -2, -4, -2, -5, 12, 5, 41]
    found, want = np.array(two("pictured", ids=ids)), np.array(pictured(alone.engine(case), ids))
    apart = np.abs(found - want).max() / want.std()
    assert apart == 0 if split == "pipeline" else apart < 1e-4
    text = np.array(pictured(alone.engine(case), [max(one, 0) for one in ids]))
    assert np.abs(text - want).max() / want.std() > 1e-2


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("case", ["deepseek_v4_fp4", *wide("deepseek_v41")])
def test_caches_that_forget_go_back_together(two, alone, goldens_root, case, split):
    """To a place that both still have, from the last prompt and from an older one's."""
    long = [(17 * i) % 120 + 3 for i in range(200)]
    turns = [long, [*long[:90], 5, 9], [*long[:150], 7], [*long[:20], 11], [*long, 8, 8]]
    load(two, goldens_root, case, split=split)
    for ids in turns:
        found = two("tokens", prompts=[ids], count=5, sampling=GREEDY)
        assert found == alone(case, GREEDY, [ids], 5, speculate=0)
    assert two("cached")[0] > 100
