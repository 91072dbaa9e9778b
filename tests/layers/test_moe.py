"""Routing against plain numpy, experts against a loop over tokens."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.layers.experts import Experts
from mlx_deepseek.layers.moe import MoE, MoEConfig
from mlx_deepseek.layers.router import choose_experts
from mlx_deepseek.layers.routing import RouterConfig


def reference_choice(config: RouterConfig, logits: np.ndarray, bias: np.ndarray | None):
    """One token's experts and weights, straight from the papers' equations."""
    if config.scoring == "sigmoid":
        scores = 1 / (1 + np.exp(-logits))
    else:
        scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    ranking = scores + (0 if bias is None else bias)
    if config.method != "greedy":
        groups = ranking.reshape(config.groups, -1)
        best = np.sort(groups, axis=-1)[:, -(2 if config.method == "noaux_tc" else 1) :].sum(-1)
        kept = np.argsort(-best)[: config.groups_kept]
        allowed = np.isin(np.arange(config.experts) // groups.shape[1], kept)
        ranking = np.where(allowed, ranking, -np.inf)
    chosen = np.argsort(-ranking)[: config.per_token]
    weights = scores[chosen]
    if config.normalise:
        weights = weights / (weights.sum() + 1e-20)
    return dict(zip(chosen.tolist(), (weights * config.scale).tolist(), strict=True))


@pytest.mark.parametrize("scoring", ["softmax", "sigmoid"])
@pytest.mark.parametrize("method", ["greedy", "group_limited_greedy", "noaux_tc"])
@pytest.mark.parametrize("normalise", [False, True])
def test_router_follows_the_equations(scoring, method, normalise):
    config = RouterConfig(8, 16, 4, scoring, method, 4, 2, normalise, 2.5)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(50, 16)).astype(np.float32)
    bias = rng.normal(size=16).astype(np.float32) if method == "noaux_tc" else None
    chosen, weights = choose_experts(
        config, mx.array(logits), None if bias is None else mx.array(bias)
    )
    for row in range(50):
        got = dict(zip(chosen[row].tolist(), weights[row].tolist(), strict=True))
        want = reference_choice(config, logits[row].astype(np.float64), bias)
        assert got.keys() == want.keys()
        for expert, weight in want.items():
            assert got[expert] == pytest.approx(weight, rel=1e-5)


def test_dropped_groups_lose_even_against_negative_scores(goldens):
    """The reference's own router unit: masking with 0.0 would choose other experts."""
    golden = goldens("deepseek_v3")
    config = RouterConfig(64, 16, 4, "sigmoid", "noaux_tc", 4, 2, True, 2.5)
    logits = golden["router_unit.x"] @ golden["router_unit.weight"].T
    chosen, weights = choose_experts(config, logits, golden["router_unit.bias"])
    order = mx.argsort(chosen, axis=-1)
    reference = golden["router_unit.idx_neg_inf"]
    reference_order = mx.argsort(reference, axis=-1)
    assert mx.array_equal(
        mx.take_along_axis(chosen, order, -1).astype(mx.int32),
        mx.take_along_axis(reference, reference_order, -1),
    )
    assert mx.allclose(
        mx.take_along_axis(weights, order, -1),
        mx.take_along_axis(golden["router_unit.w_neg_inf"], reference_order, -1),
        rtol=1e-5,
    )


@settings(max_examples=20, deadline=None)
@given(tokens=st.integers(1, 40), per_token=st.integers(1, 5), seed=st.integers(0, 99))
def test_experts_equal_a_loop_over_tokens(tokens, per_token, seed):
    mx.random.seed(seed)
    experts = Experts(hidden=16, width=8, experts=6)
    x = mx.random.normal((tokens, 16))
    chosen = mx.random.randint(0, 6, (tokens, per_token))
    got = experts(x, chosen)
    for t in range(tokens):
        for k in range(per_token):
            e = int(chosen[t, k])
            gate, up, down = (
                p.weight[e] for p in (experts.gate_proj, experts.up_proj, experts.down_proj)
            )
            want = down @ (nn.silu(gate @ x[t]) * (up @ x[t]))
            assert mx.allclose(got[t, k], want, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 3, 70])
def test_quantized_experts_agree_with_their_dequantized_weights(tokens):
    mx.random.seed(1)
    experts = Experts(hidden=64, width=64, experts=4)
    x, chosen = mx.random.normal((tokens, 64)), mx.random.randint(0, 4, (tokens, 2))
    nn.quantize(experts, group_size=32, bits=4)
    plain = Experts(hidden=64, width=64, experts=4)
    for name in ("gate_proj", "up_proj", "down_proj"):
        q = experts[name]
        plain[name].weight = mx.dequantize(q.weight, q.scales, q.biases, 32, 4)
    assert mx.allclose(experts(x, chosen), plain(x, chosen), atol=1e-4)


def test_shared_experts_see_every_token():
    config = MoEConfig(RouterConfig(16, 4, 2), width=8, shared_width=8)
    moe = MoE(config)
    x = mx.random.normal((2, 3, 16))
    shared = moe.shared_experts(x)
    moe.switch_mlp.down_proj.weight = mx.zeros_like(moe.switch_mlp.down_proj.weight)
    assert mx.allclose(moe(x), shared, atol=1e-6)
