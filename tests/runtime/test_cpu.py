"""Spreading quantized products over cores changes no number."""

import threading

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm.models.mla import MultiLinear
from mlx_lm.models.switch_layers import SwitchLinear

from mlx_deepseek.runtime import cpu


@pytest.fixture(autouse=True)
def always_spread(monkeypatch):
    monkeypatch.setattr(cpu, "PARALLEL_FROM_PRODUCTS", 0)


def pair(module: nn.Module, mode: str = "affine"):
    """The same quantized module, plain and divided over three threads."""
    holder = {"bits": 4, "group_size": 32, "mode": mode}
    plain, divided = nn.Sequential(module), nn.Sequential(module)
    nn.quantize(plain, **holder)
    nn.quantize(divided, **holder)
    cpu.parallelise(divided, cores=3)
    return plain.layers[0], divided.layers[0]


@pytest.mark.parametrize("mode", ["affine", "mxfp4"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 64), (2, 5, 64)])
def test_linear(shape, bias, mode):
    plain, divided = pair(nn.Linear(64, 50, bias=bias), mode)
    x = mx.random.normal(shape)
    assert type(divided) is cpu.ParallelLinear
    assert mx.allclose(plain(x), divided(x), atol=1e-5)


@pytest.mark.parametrize("pairs", [1, 2, 7])
@pytest.mark.parametrize("per_pair", [False, True])
def test_experts(pairs, per_pair):
    plain, divided = pair(SwitchLinear(64, 32, 5, bias=False))
    x = mx.random.normal((2, 3, pairs if per_pair else 1, 1, 64))
    chosen = mx.random.randint(0, 5, (2, 3, pairs))
    assert mx.allclose(plain(x, chosen), divided(x, chosen), atol=1e-5)


@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("heads", [1, 4])
def test_heads(heads, transpose):
    plain, divided = pair(MultiLinear(32, 64, 4))
    x = mx.random.normal((2, heads, 3, 32 if transpose else 64))
    assert mx.allclose(plain(x, transpose), divided(x, transpose), atol=1e-5)


def test_another_thread_may_use_the_model():
    plain, divided = pair(nn.Linear(64, 50))
    x = mx.random.normal((4, 64))
    want, got = plain(x), []
    mx.eval(want, x, divided.parameters())

    def work():
        with mx.stream(mx.new_thread_local_stream(mx.cpu)):
            got.append(divided(x))
            mx.eval(got)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert mx.allclose(want, got[0], atol=1e-5)


def test_names_and_parameters_stay():
    plain, divided = pair(nn.Linear(64, 50))
    assert plain.parameters().keys() == divided.parameters().keys()


def test_small_products_are_left_alone(monkeypatch):
    monkeypatch.setattr(cpu, "PARALLEL_FROM_PRODUCTS", 10**9)
    assert cpu.divide([None], 50, 10) == []
