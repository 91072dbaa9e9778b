"""What fits where, and how fast: against brute force and simulated caches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_deepseek import catalog, models
from mlx_deepseek.models.expert_memory import ExpertLayer, ModelMemory, capacities, memory_of
from mlx_deepseek.models.forecast import Speeds, forecast, hit_rate, used
from mlx_deepseek.models.sizes import count
from mlx_deepseek.runtime.slots import Slots
from mlx_deepseek_convert import stored_bytes

LAYER = ExpertLayer(experts=64, per_token=6, expert_bytes=1000, file_bytes=900)
MODEL = ModelMemory(5000, 4000, {f"model.layers.{i}.mlp.switch_mlp": LAYER for i in range(10)})


@given(
    dense=st.integers(0, 10**6),
    layers=st.lists(
        st.tuples(st.integers(2, 300), st.integers(1, 9), st.integers(1, 10**4)),
        min_size=1,
        max_size=6,
    ),
    share=st.floats(0, 1.2),
)
def test_capacities_fill_the_memory_and_no_more(dense, layers, share):
    made = [ExpertLayer(e, min(k, e), size, size) for e, k, size in layers]
    found = ModelMemory(dense, dense, {str(i): layer for i, layer in enumerate(made)})
    usable = int(found.nbytes * share)
    chosen = capacities(found, usable)
    if chosen is None:
        assert found.least_bytes > usable
        return
    assert found.held(chosen) <= usable
    if not chosen:
        return
    for path, layer in found.layers.items():
        assert layer.per_token <= chosen[path] <= layer.experts
    # One more of the largest layer's experts in every layer, by share, would be too much.
    most = max(layer.experts for layer in found.layers.values())
    largest = next(path for path, layer in found.layers.items() if layer.experts == most)
    count = chosen[largest] + 1
    more = {p: max(chosen[p], one.experts * count // most) for p, one in found.layers.items()}
    assert found.held(more) > usable or chosen[largest] == found.layers[largest].per_token


def test_a_token_takes_memory_and_disk():
    got = forecast(MODEL, dict.fromkeys(MODEL.layers, 16), Speeds(memory=1e6, disk=1e4))
    missed = 10 * 6 * 900 * 0.75
    assert got.share == 0.25
    assert got.hit_rate[0] == pytest.approx(0.25, rel=1e-3)
    assert got.disk_bytes_per_token[0] == pytest.approx(missed, rel=1e-3)
    assert 1 / got.decode_tps[0] == pytest.approx((4000 + 60_000) / 1e6 + missed / 1e4, rel=1e-3)
    assert got.hit_rate[1] > got.hit_rate[0]
    assert got.decode_tps[1] > got.decode_tps[0]


def test_all_in_memory_reads_nothing():
    got = forecast(MODEL, {}, Speeds(1e6, 1.0))
    assert got.share == got.hit_rate[0] == got.hit_rate[1] == 1
    assert got.disk_bytes_per_token == (0, 0)
    assert got.decode_tps[0] == pytest.approx(1e6 / 64_000)


def test_a_prompt_reads_each_expert_once():
    got = forecast(MODEL, dict.fromkeys(MODEL.layers, 16), Speeds(1e9, 1e4))
    assert got.prefill_tps == pytest.approx(2048 / (10 * 64 * 900 * 0.75 / 1e4), rel=1e-3)
    assert used(LAYER, 1) == pytest.approx(6)
    slow = forecast(MODEL, {}, Speeds(1e9, 1e4, prompt=1e6))
    assert slow.prefill_tps == pytest.approx(1e6 / 64_000)


def simulated(layer: ExpertLayer, capacity: int, zipf: float, tokens: int = 1500) -> float:
    """What a cache finds: the slot table that layers use, on random choices."""
    rng, slots, found = np.random.default_rng(0), Slots(capacity), 0
    weights = np.log(np.arange(1, layer.experts + 1) ** -zipf)
    for _ in range(tokens):
        noise = rng.gumbel(size=layer.experts)
        chosen = np.argsort(-(weights + noise))[: layer.per_token].tolist()
        here = [one for one in chosen if one in slots]
        slots.use(here)
        slots.fill(slots.claim([one for one in chosen if one not in slots], keep=here))
        found += len(here)
    return found / (tokens * layer.per_token)


@pytest.mark.parametrize("capacity", [8, 16, 32, 48])
@pytest.mark.parametrize("zipf", [0.0, 0.5, 1.0])
def test_hit_rates_are_those_of_a_cache(capacity, zipf):
    layer = ExpertLayer(256, 8, 1, 1)
    assert hit_rate(layer, capacity, zipf) == pytest.approx(
        simulated(layer, capacity, zipf), abs=0.03
    )


@pytest.mark.parametrize("name", ["DeepSeek-V2-Lite-Chat", "DeepSeek-V3", "DeepSeek-V3.2"])
def test_released_models_by_their_config(name):
    """Bytes by the recipe are near what the sizes say: 4.5 bits and some more."""
    model = models.build(models.without_mtp(catalog.find(name).config))
    found = memory_of(model, stored_bytes(model))
    assert found.nbytes == pytest.approx(count(model).total * 4.6 / 8, rel=0.03)
    assert 0 < found.dense_read_bytes < found.dense_bytes < 0.2 * found.nbytes


def test_drafting_layers_are_held_but_not_read():
    config = catalog.find("DeepSeek-V3").config
    model = models.build(config)
    found = memory_of(model, stored_bytes(model))
    assert len(found.layers) == 59
    assert len(found.decoding) == 58
