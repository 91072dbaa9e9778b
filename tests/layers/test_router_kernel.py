"""The GPU's router does what the operations do; where it does not, they do the work."""

import ctypes
import shutil
import subprocess

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek.layers import router, router_kernel
from mlx_deepseek.layers.gpu_kernel import in_words_of
from mlx_deepseek.layers.router import choose_experts
from mlx_deepseek.layers.router_kernel import body_of, kernel, settings
from mlx_deepseek.layers.routing import RouterConfig, by_operations
from mlx_deepseek.runtime.device import on_gpu

# V2-Lite, V2, V3, V4 and a plain one, with fewer experts: each branch of the body.
CONFIGS = [
    RouterConfig(hidden=8, experts=64, per_token=6),
    RouterConfig(8, 40, 6, method="group_limited_greedy", groups=8, groups_kept=3, scale=16.0),
    RouterConfig(8, 64, 8, "sigmoid", "noaux_tc", 8, 4, normalise=True, scale=2.5),
    RouterConfig(8, 48, 6, "sqrtsoftplus", "noaux_tc", normalise=True, scale=1.5),
    RouterConfig(8, 4, 4, "sigmoid"),
]
# A group of threads is a group of threads here, too; groups come one after the other.
AROUND = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
typedef unsigned int uint;
typedef float T;
{constants}
static std::barrier<> all(E);
void run(const float* logits, const float* bias, uint* chosen, float* weights,
         uint GPU_GROUP, uint GPU_THREAD) {{ {body} }}
extern "C" void choose(const float* logits, const float* bias, int tokens,
                       uint* chosen, float* weights) {{
    for (int token = 0; token < tokens; token++) {{
        std::vector<std::thread> threads;
        for (int i = 0; i < E; i++)
            threads.emplace_back(run, logits, bias, chosen, weights, token, i);
        for (auto& one : threads) one.join();
    }}
}}
"""
LANGUAGE = {
    "GPU_SHARED": "static",
    "GPU_WAIT": "all.arrive_and_wait()",
    "GPU_EXP": "expf",
    "GPU_LOG": "logf",
}


def compiled(config, biased, folder):
    """The body as a function of the CPU, which a GPU's compiler reads alike."""
    if (compiler := shutil.which("c++") or shutil.which("g++")) is None:
        pytest.skip("no C++ compiler")
    told = settings(config, biased)
    constants = "\n".join(f"constexpr int {name} = {value};" for name, value in told.items())
    text = AROUND.format(constants=constants, body=in_words_of(LANGUAGE, body_of(config.scale)))
    source, library = folder / "body.cpp", folder / "body.so"
    source.write_text(text)
    options = ["-std=c++20", "-O1", "-shared", "-fPIC", "-pthread"]
    subprocess.run([compiler, *options, source, "-o", library], check=True)
    return ctypes.CDLL(str(library)).choose


def pointer(array, kind):
    return array.ctypes.data_as(ctypes.POINTER(kind))


def in_order(chosen, weights):
    order = np.argsort(chosen, axis=-1)
    return np.take_along_axis(chosen, order, -1), np.take_along_axis(weights, order, -1)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda one: f"{one.scoring}-{one.method}")
def test_the_body_is_right(config, biased, tmp_path):
    run = compiled(config, biased, tmp_path)
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 4, (9, config.experts)).astype(np.float32)
    logits[0] -= 40  # all scores tiny
    bias = rng.normal(0, 0.5, config.experts).astype(np.float32)
    chosen = np.full((9, config.per_token), 7777, np.uint32)
    weights = np.full((9, config.per_token), np.nan, np.float32)
    given = [pointer(one, ctypes.c_float) for one in (logits, bias)]
    run(*given, 9, pointer(chosen, ctypes.c_uint32), pointer(weights, ctypes.c_float))
    expected = by_operations(config, mx.float32)(
        mx.array(logits), mx.array(bias) if biased else None
    )
    numbers, shares = in_order(*(np.array(one) for one in expected))
    found, ours = in_order(chosen, weights)
    assert np.array_equal(found, numbers)
    assert np.allclose(ours, shares, rtol=1e-5, atol=1e-30)


def test_no_number_leads_astray(tmp_path):
    """Logits that are not numbers choose some experts, each of which is there."""
    config = CONFIGS[2]
    run = compiled(config, True, tmp_path)
    logits = np.full((3, config.experts), np.nan, np.float32)
    logits[1, ::2], logits[2] = 1.0, np.inf
    chosen, weights = np.full((3, 8), 7777, np.uint32), np.zeros((3, 8), np.float32)
    given = [pointer(one, ctypes.c_float) for one in (logits, np.zeros_like(logits[0]))]
    run(*given, 3, pointer(chosen, ctypes.c_uint32), pointer(weights, ctypes.c_float))
    assert chosen.max() < config.experts


@pytest.mark.parametrize("wrong", ["not built", "other experts", "other weights"])
def test_a_kernel_that_is_not_right_is_not_used(wrong, monkeypatch):
    config = CONFIGS[2]
    right = by_operations(config, mx.float32)

    def built(*_):
        if wrong == "not built":
            raise RuntimeError("No Metal back-end.")
        experts, weights = (1, 1.0) if wrong == "other experts" else (0, 1.1)
        return lambda logits, bias: (
            lambda found: ((found[0] + experts) % config.experts, found[1] * weights)
        )(right(logits, bias))

    kernel.cache_clear()
    monkeypatch.setattr(router, "on_gpu", lambda: True)
    monkeypatch.setattr(router_kernel, "built", built)
    logits, bias = mx.random.normal((5, config.experts)), mx.zeros((config.experts,))
    found = choose_experts(config, logits, bias)
    kernel.cache_clear()
    assert all(mx.array_equal(a, b) for a, b in zip(found, right(logits, bias), strict=True))


def test_a_right_kernel_is_used_but_for_training(monkeypatch):
    config, calls = CONFIGS[2], []
    right = by_operations(config, mx.float32)
    monkeypatch.setattr(router, "on_gpu", lambda: True)
    monkeypatch.setattr(
        router_kernel, "built", lambda *_: lambda *given: calls.append(1) or right(*given)
    )
    kernel.cache_clear()
    logits, bias = mx.random.normal((5, config.experts)), mx.zeros((config.experts,))
    choose_experts(config, logits, bias)
    asked = len(calls)
    assert asked == 2  # once to see whether it is right
    choose_experts(config, logits, bias, training=True)
    kernel.cache_clear()
    assert len(calls) == asked


@pytest.mark.skipif(not on_gpu(), reason="no GPU")
@pytest.mark.parametrize("config", CONFIGS, ids=lambda one: f"{one.scoring}-{one.method}")
def test_this_gpu_uses_the_kernel(config):
    assert kernel(config, True, mx.bfloat16) is not None
