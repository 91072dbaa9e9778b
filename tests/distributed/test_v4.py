"""V4 and V4.1 on several processes: what is theirs alone, beside the cases of `test_split`."""

import pytest

from tests.distributed.rank0 import GREEDY, V4, load, pictured


def test_layers_of_v4_are_not_shared(two, goldens_root):
    for case in V4:
        source = str(goldens_root / case)
        kind, text = two.refused("load", source=source, dtype="float32", split="tensor")
        assert kind == "ConfigError"
        assert "one compressor and indexer" in text
        assert "--split pipeline" in text


@pytest.mark.parametrize("case", ["deepseek_v4_vision", "deepseek_v41"])
def test_all_know_what_is_a_picture(two, alone, goldens_root, case):
    """Routing, masks and Engram differ there: other numbers than for text, the same on two."""
    load(two, goldens_root, case)
    ids = [7, 3, -1, -2, -2, -4, -2, -5, 12, 5, 41]
    want = pictured(alone.engine(case), ids)
    assert two("pictured", ids=ids) == want
    assert want != pictured(alone.engine(case), [max(one, 0) for one in ids])


@pytest.mark.parametrize("case", ["deepseek_v4_fp4", "deepseek_v41"])
def test_caches_that_forget_go_back_together(two, alone, goldens_root, case):
    """To a place that both still have, from the last prompt and from an older one's."""
    long = [(17 * i) % 120 + 3 for i in range(200)]
    turns = [long, [*long[:90], 5, 9], [*long[:150], 7], [*long[:20], 11], [*long, 8, 8]]
    load(two, goldens_root, case)
    for ids in turns:
        found = two("tokens", prompts=[ids], count=5, sampling=GREEDY)
        assert found == alone(case, GREEDY, [ids], 5, speculate=0)
    assert two("cached")[0] > 100
