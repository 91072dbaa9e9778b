"""Routed experts read from disk: the same numbers as with all in memory, at every capacity."""

import itertools

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlx_lm.models.cache import BatchKVCache

from mlx_deepseek.checkpoint.expert_files import conversion, stream_experts
from mlx_deepseek.checkpoint.load_weights import load_model
from mlx_deepseek.layers.streamed_experts import StreamedExperts, traffic
from mlx_deepseek.models.expert_memory import moe_layers
from mlx_deepseek_convert import convert
from tests.breadth import examples

CASES = [
    "deepseek_moe_16b",
    "deepseek_v2_lite",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "deepseek_v4_fp4",
    "deepseek_v41",
    "deepseek_vl2",
    "deepseek_vl2_tiny",
    "deepseek_ocr",
    "deepseek_ocr2",
]


@pytest.fixture(scope="module")
def converted(goldens_root, tmp_path_factory):
    """Tiny checkpoints, converted with each recipe once."""
    root = tmp_path_factory.mktemp("converted")

    def make(case: str, recipe: str):
        if not (root / f"{case}-{recipe}").exists():
            convert(goldens_root / case, root / f"{case}-{recipe}", recipe)
        return root / f"{case}-{recipe}"

    return make


def load_streamed(folder, capacity: int):
    """The model with so many experts of every layer in memory, or all that a layer has."""
    model, _ = load_model(folder)
    counts = {path: layer.gate.config.experts for path, layer in moe_layers(model).items()}
    assert counts
    return load_model(folder, capacities={p: min(capacity, n) for p, n in counts.items()})[0]


def outputs(model, ids: mx.array) -> np.ndarray:
    """Logits of a prompt in two parts, of six tokens after it, and of what drafts."""
    language = getattr(model, "language", model)
    cache = language.make_cache()
    parts = [language(ids[:, :5], cache=cache), language(ids[:, 5:], cache=cache)]
    parts += [language(ids[:, i : i + 1], cache=cache) for i in range(6)]
    if "mtp" in model and model.args.drafting is None:
        parts.append(model.mtp_logits(ids))
    return np.array(mx.concatenate([part.astype(mx.float32) for part in parts], axis=1))


@pytest.mark.parametrize("recipe", ["bf16", "4bit"])
@pytest.mark.parametrize("case", CASES)
def test_streamed_is_resident(converted, case, recipe):
    """Bit for bit, from one expert in memory to all but one; drafters' layers, too."""
    folder = converted(case, recipe)
    resident, _ = load_model(folder)
    layers = moe_layers(resident)
    most = max(layer.gate.config.experts for layer in layers.values())
    ids = mx.array(np.random.default_rng(0).integers(3, 50, (1, 45)))  # sorted pairs, too
    want = outputs(resident, ids)
    for capacity in (1, most - 1) if recipe == "bf16" else (3,):
        model = load_streamed(folder, capacity)
        assert np.array_equal(outputs(model, ids), want), capacity
        seen = traffic(model)
        assert seen.uses >= seen.misses > 0
        assert all(
            isinstance(moe.switch_mlp, StreamedExperts) for moe in moe_layers(model).values()
        )


@pytest.mark.parametrize("recipe", ["8bit", "mxfp4", "mxfp8", "nvfp4"])
def test_every_kind_of_quantization(converted, recipe):
    folder = converted("deepseek_v3", recipe)
    ids = mx.array(np.random.default_rng(1).integers(3, 50, (1, 30)))
    want = outputs(load_model(folder)[0], ids)
    for capacity in (2, 7):
        assert np.array_equal(outputs(load_streamed(folder, capacity), ids), want)


@pytest.fixture(scope="module")
def pair(converted):
    """A model and its streamed twin by capacity, each loaded once."""
    folder, made = converted("deepseek_v3", "4bit"), {}

    def get(capacity: int | None):
        if capacity not in made:
            make = load_model(folder)[0] if capacity is None else load_streamed(folder, capacity)
            made[capacity] = make
        return made[capacity]

    return get


@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    capacity=st.integers(1, 16),
    rows=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_batch_in_any_chunks(pair, capacity, rows, chunks, seed):
    """Left-padded rows of several lengths, in chunks of several sizes, from a used cache."""
    width = max(rows) + sum(chunks)
    ids = mx.array(np.random.default_rng(seed).integers(0, 50, (len(rows), width)))
    edges = [0, *itertools.accumulate([max(rows), *chunks])]

    def run(model):
        cache = [BatchKVCache([max(rows) - row for row in rows]) for _ in model.layers]
        return [np.array(model(ids[:, a:b], cache=cache)) for a, b in itertools.pairwise(edges)]

    for got, want in zip(run(pair(capacity)), run(pair(None)), strict=True):
        assert np.array_equal(got, want)


def test_what_is_resident_stays_without_slots(converted):
    folder = converted("deepseek_v3", "4bit")
    model, _ = load_model(folder, capacities={})
    assert traffic(model) is None


def test_the_most_used_experts_stay(pair):
    """After a prompt, those that most tokens chose are still in memory."""
    model = pair(4)
    experts = moe_layers(model)["model.layers.2.mlp.switch_mlp"].switch_mlp
    x = mx.random.normal((20, 64), key=mx.random.key(3))
    chosen = mx.array([[e % 12, 15] for e in range(20)])
    mx.eval(experts(x, chosen))
    before = traffic(model).misses
    mx.eval(experts(x[:1], mx.array([[15]])))
    assert traffic(model).misses == before


@pytest.mark.parametrize("target", [mx.float32, mx.bfloat16, mx.float16])
@pytest.mark.parametrize("source", [mx.float32, mx.bfloat16, mx.float16])
def test_numbers_are_cast_as_mlx_casts(source, target):
    values = mx.random.normal((4096,), key=mx.random.key(0)) * 100
    special = mx.array([0.0, -0.0, mx.inf, -mx.inf, mx.nan, 1e-7, 65519.0])
    stored = mx.concatenate([values, special]).astype(source)
    memory = np.zeros(stored.size * target.size, np.uint8)
    conversion(source, target)(np.array(stored.view(mx.uint8)), memory)
    got = mx.array(memory).view(target)
    assert mx.array_equal(got, stored.astype(target), equal_nan=True)
    signs = mx.array([0.0, -0.0]).astype(target).view(mx.uint8)
    assert mx.array_equal(got[-7:-5].view(mx.uint8), signs)


def test_nothing_to_stream_opens_nothing(tmp_path, pair):
    stream_experts(pair(None), tmp_path / "nowhere", {})
