"""A restored prefix is as good as a read one: same logits as without any cache."""

import mlx.core as mx
import pytest
from mlx_lm.models.cache import make_prompt_cache

from mlx_deepseek import models
from mlx_deepseek.cache.blocks import BLOCK, marks_of
from mlx_deepseek.cache.prefix_cache import PrefixCache
from mlx_deepseek.checkpoint.token_map import attach_token_map
from mlx_deepseek_convert import weights
from tests.cache.layers import prompt

LIMIT = 1e-4  # of parity with the official code: max |a - b| / std(b)


V4 = ["deepseek_v4_fp4", "deepseek_v4_vision", "deepseek_v41"]


@pytest.fixture(scope="module", params=["deepseek_v3", "deepseek_llm_7b", *V4])
def model(request, goldens_root, golden_config):
    model = models.build(golden_config(request.param))
    model.load_weights(list(weights(goldens_root / request.param, "float32")), strict=True)
    attach_token_map(model, goldens_root / request.param)
    return model


def store_for(model, **options) -> PrefixCache:
    return PrefixCache("tiny", marked=bool(marks_of(make_prompt_cache(model))), **options)


@pytest.mark.parametrize("memory_bytes", [0, 1 << 30], ids=["disk", "memory"])
def test_logits_after_restoring(model, memory_bytes, tmp_path):
    document = [i % 128 for i in prompt(0, 2 * BLOCK + 9)]
    first, second = [*document, 1, 2, 3], [*document, 9, 8, 7, 6]
    store = store_for(model, memory_bytes=memory_bytes, folder=tmp_path)
    layers = make_prompt_cache(model)
    model(mx.array([first]), cache=layers)
    assert store.store(first, layers) == 2

    layers = make_prompt_cache(model)
    assert store.match(second) == 2 * BLOCK
    cached = store.restore(second, layers, limit=len(second) - 1)
    assert cached == 2 * BLOCK
    got = model(mx.array([second[cached:]]), cache=layers)
    want = model(mx.array([second]))[:, cached:]
    assert mx.abs(got - want).max() <= LIMIT * mx.sqrt(mx.var(want))
    assert layers[0].offset == len(second)


def test_layers_that_forget_go_on_where_they_have_marks(model, tmp_path):
    """What follows after a restart, quantized or not, is what the first process would have got."""
    if not marks_of(make_prompt_cache(model)):
        pytest.skip("its layers keep a row for every token")
    widths = {layer.widths[0] for layer in make_prompt_cache(model)} - {0}
    bits = [None, 8] if all(width % 32 == 0 for width in widths) else [None]
    ids = [i % 128 for i in prompt(0, 3 * BLOCK + 40)]
    for each in bits:

        def fresh(bits=each):
            layers = make_prompt_cache(model)
            return layers if bits is None else [layer.to_quantized(bits=bits) for layer in layers]

        folder = tmp_path / str(each)
        layers = fresh()
        model(mx.array([ids]), cache=layers)
        want = model(mx.array([[5, 6, 7]]), cache=layers)
        store_for(model, memory_bytes=0, folder=folder).store(ids, layers)
        layers = fresh()
        cached = store_for(model, memory_bytes=0, folder=folder).restore(ids, layers)
        assert cached == 3 * BLOCK
        model(mx.array([ids[cached:]]), cache=layers)
        got = model(mx.array([[5, 6, 7]]), cache=layers)
        assert mx.abs(got - want).max() <= LIMIT * mx.sqrt(mx.var(want))
        for layer in layers:  # a place that was not marked any more is not promised
            layer.marks = {}
        other = store_for(model, memory_bytes=1 << 30)
        assert other.store(ids, layers) == 3
        assert other.match(ids) == 0
