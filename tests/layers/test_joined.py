"""Joined projections: the same numbers under the same names, until someone changes a layer."""

import dataclasses

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.lora import LoRALinear

from mlx_deepseek.config import MLAConfig, RopeConfig
from mlx_deepseek.layers.experts import Experts
from mlx_deepseek.layers.joined import Joined, join_all
from mlx_deepseek.layers.mla import LatentAttention
from mlx_deepseek.layers.mlp import MLP

MLA = MLAConfig(
    hidden=64,
    heads=2,
    query_rank=32,
    kv_rank=32,
    nope_dim=8,
    value_dim=16,
    rope=RopeConfig(dims=32),
    bias=True,
)


def attention():
    layer = LatentAttention(MLA)
    layer.q_a_proj.bias = mx.random.normal((32,))
    layer.kv_a_proj_with_mqa.bias = mx.random.normal((64,))
    return layer


BLOCKS = {
    "mlp": (lambda: MLP(64, 32), lambda block, x: block(x)),
    "experts": (
        lambda: Experts(64, 32, 4),
        lambda block, x: block(x, mx.array([[[0, 2], [3, 1], [1, 1]]])),
    ),
    "attention": (attention, lambda block, x: block(x, "causal")),
}


@pytest.fixture(params=BLOCKS)
def block(request):
    build, call = BLOCKS[request.param]
    mx.random.seed(1)
    return build(), lambda block: call(block, mx.random.normal((1, 3, 64), key=mx.random.key(2)))


@pytest.mark.parametrize("quantized", [False, True])
def test_joining_changes_neither_numbers_nor_names(block, quantized):
    layer, call = block
    if quantized:
        nn.quantize(layer, group_size=32, bits=4)
    before, out = dict(tree_flatten(layer.parameters())), call(layer)
    join_all(layer)
    assert isinstance(layer._joined, Joined)
    assert mx.allclose(call(layer), out, atol=1e-5)
    after = dict(tree_flatten(layer.parameters()))
    assert after.keys() == before.keys()
    assert all(mx.array_equal(after[name], before[name]) for name in before)


def test_a_joined_product_is_what_runs(block):
    layer, call = block
    out = call(layer)
    join_all(layer)
    layer._joined.whole.weight = layer._joined.whole.weight * 2
    assert not mx.allclose(call(layer), out, atol=1e-3)


def test_new_weights_are_used():
    layer, x = MLP(64, 32), mx.random.normal((1, 3, 64))
    join_all(layer)
    layer.gate_proj.weight = layer.gate_proj.weight * 0
    assert mx.array_equal(layer(x), mx.zeros((1, 3, 64)))


def test_an_adapter_is_used():
    layer, x = MLP(64, 32), mx.random.normal((1, 3, 64))
    join_all(layer)
    plain = layer(x)
    layer.up_proj = LoRALinear.from_base(layer.up_proj, r=4)
    assert mx.allclose(layer(x), plain, atol=1e-5)  # a fresh adapter adds zero
    layer.up_proj.lora_b = mx.random.normal(layer.up_proj.lora_b.shape)
    assert not mx.allclose(layer(x), plain, atol=1e-3)


def test_layers_of_different_bits_stay_apart():
    layer, x = MLP(64, 32), mx.random.normal((1, 3, 64))
    layer.gate_proj = layer.gate_proj.to_quantized(group_size=32, bits=4)
    layer.up_proj = layer.up_proj.to_quantized(group_size=32, bits=8)
    out = layer(x)
    join_all(layer)
    assert layer._joined is None
    assert mx.array_equal(layer(x), out)


def test_without_query_compression_there_is_nothing_to_join():
    layer = LatentAttention(dataclasses.replace(MLA, query_rank=None, bias=False))
    join_all(layer)
    assert layer._joined is None
