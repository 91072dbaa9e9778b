"""A restored prefix is as good as a read one: same logits as without any cache."""

import mlx.core as mx
import pytest

from mlx_deepseek import models
from mlx_deepseek.prefix_cache import BLOCK, PrefixCache
from mlx_deepseek_convert import weights
from tests.prefix_cache.layers import prompt

LIMIT = 1e-4  # of parity with the official code: max |a - b| / std(b)


@pytest.fixture(scope="module", params=["deepseek_v3", "deepseek_llm_7b"])
def model(request, goldens_root, golden_config):
    model = models.build(golden_config(request.param))
    model.load_weights(list(weights(goldens_root / request.param, "float32")), strict=True)
    return model


@pytest.mark.parametrize("memory_bytes", [0, 1 << 30], ids=["disk", "memory"])
def test_logits_after_restoring(model, memory_bytes, tmp_path):
    document = [i % 256 for i in prompt(0, 2 * BLOCK + 9)]
    first, second = [*document, 1, 2, 3], [*document, 9, 8, 7, 6]
    store = PrefixCache("tiny", memory_bytes=memory_bytes, folder=tmp_path)
    layers = model.make_cache()
    model(mx.array([first]), cache=layers)
    assert store.store(first, layers) == 2

    layers = model.make_cache()
    cached = store.restore(second, layers, limit=len(second) - 1)
    assert cached == 2 * BLOCK
    got = model(mx.array([second[cached:]]), cache=layers)
    want = model(mx.array([second]))[:, cached:]
    assert mx.abs(got - want).max() <= LIMIT * mx.sqrt(mx.var(want))
    assert layers[0].offset == len(second)
