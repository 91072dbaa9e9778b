"""Hooks see what modules are given and give, and leave them as they were."""

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlx_deepseek.runtime.hooks import hooked, outputs_of


def test_a_hook_sees_each_call_and_goes():
    layer, calls = nn.Linear(3, 2), []
    x = mx.ones((1, 3))
    with hooked(layer, lambda out, given: calls.append((out, given))):
        assert isinstance(layer, nn.Linear)
        assert "weight" in layer
        y = layer(x)
    layer(x)
    ((out, given),) = calls
    assert out is y
    assert given is x
    assert type(layer) is nn.Linear


def test_outputs_by_module():
    layers = {"a": nn.Linear(3, 2), "b": nn.Linear(2, 2)}
    with outputs_of(layers) as found:
        out = layers["b"](layers["a"](mx.ones((1, 3))))
        layers["a"](mx.zeros((1, 3)))
    assert [len(calls.outputs) for calls in found.values()] == [2, 1]
    assert found["b"].outputs[0] is out
    assert found["b"].module is layers["b"]


def test_what_fails_leaves_modules_as_they_were():
    layer = nn.Linear(3, 2)
    with pytest.raises(ZeroDivisionError), outputs_of({"a": layer}):
        raise ZeroDivisionError
    assert type(layer) is nn.Linear
