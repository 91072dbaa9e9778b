"""What can be seen inside nano, against counting by hand."""

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek import load
from mlx_deepseek.engine.inspect import cache_widths, router_hooks, routing


@pytest.fixture(scope="module")
def engine():
    return load("nano", recipe="bf16")


def test_routing_counts_every_choice_of_every_token(engine):
    ids = engine.encode("What is 347 + 586?")
    seen = engine.routing(ids)
    config = engine.config
    dense = config["first_k_dense_replace"]
    assert seen.layers == tuple(range(dense, config["num_hidden_layers"]))
    assert seen.tokens == len(ids)
    assert seen.per_token == config["num_experts_per_tok"]
    assert seen.counts.shape == (len(seen.layers), config["n_routed_experts"])
    assert (seen.counts.sum(axis=1) == seen.tokens * seen.per_token).all()
    assert all(balance >= 1 for balance in seen.balance)
    assert seen.idle == tuple((seen.counts == 0).sum(axis=1))


def test_the_first_layers_choices_are_those_of_its_router(engine):
    ids = engine.encode("Sort 9, 3.")
    layer = engine.model.layers[engine.config["first_k_dense_replace"]]
    inputs = []
    gate = layer.mlp.gate
    layer.mlp.gate = lambda x, step: inputs.append(x) or gate(x)
    try:
        engine.logits(ids)
    finally:
        layer.mlp.gate = gate
    chosen = np.array(gate(inputs[0])[0]).ravel()
    counted = np.bincount(chosen, minlength=engine.config["n_routed_experts"])
    assert (engine.routing(ids).counts[0] == counted).all()


def test_watching_leaves_the_model_as_it_was(engine):
    names = sorted(name for name, _ in engine.model.named_modules())
    before = engine.logits([1, 2, 3])
    with pytest.raises(ZeroDivisionError), router_hooks(engine.model):
        raise ZeroDivisionError
    assert sorted(name for name, _ in engine.model.named_modules()) == names
    assert mx.array_equal(engine.logits([1, 2, 3]), before)


def test_without_moe_layers_there_is_nothing_to_see():
    empty = routing({})
    assert empty.counts.size == 0
    assert empty.balance == ()


def test_cache_widths_of_latents_beside_whole_heads(engine):
    config, widths = engine.config, cache_widths(engine.model, engine.config)
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    key = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    assert widths.used == layers * (config["kv_lora_rank"] + config["qk_rope_head_dim"])
    assert widths.mha == layers * heads * (key + config["v_head_dim"])
    assert widths.used < widths.gqa <= widths.mha


def test_an_indexers_choices_are_at_most_so_many_and_earlier(goldens_root):
    sparse = load(goldens_root / "deepseek_v32", dtype="float32")
    ids = list(range(2, 42))
    seen = sparse.selection(ids)
    topk, layers = sparse.config["index_topk"], sparse.config["num_hidden_layers"]
    assert (seen.layers, seen.per_token) == (layers, topk)
    assert (np.triu(seen.counts, 1) == 0).all()
    each = layers * np.minimum(np.arange(1, 41), topk)
    assert (seen.counts.sum(axis=1) == each).all()


def test_few_tokens_are_all_attended_to(goldens_root, engine):
    seen = load(goldens_root / "deepseek_v32", dtype="float32").selection([2, 3, 4])
    assert (seen.counts == seen.layers * np.tri(3)).all()
    assert engine.selection([2, 3, 4]).layers == 0
