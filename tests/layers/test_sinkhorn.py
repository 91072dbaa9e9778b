"""The GPU's kernel does what the operations do; where it does not, they do the work."""

import ctypes
import shutil
import subprocess

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek.layers import sinkhorn as module
from mlx_deepseek.layers.sinkhorn import body_of, by_operations, kernel, sinkhorn
from mlx_deepseek.runtime.device import on_gpu

ROUNDS, EPS = 20, 1e-6
AROUND = """
typedef unsigned int uint;
template <int M, int ROUNDS>
void run(const float* comb, const int* comb_shape, float* out, uint GPU_INDEX) {{ {body} }}
extern "C" void run{size}(const float* comb, int count, float* out) {{
    for (uint i = 0; i < uint(count) + 3; i++) run<{size}, {rounds}>(comb, &count, out, i);
}}
"""


@pytest.fixture
def matrices():
    return mx.random.uniform(0.01, 9.0, (2, 3, 4, 4), key=mx.random.key(5))


@pytest.mark.parametrize("size", [2, 4])
def test_the_body_is_right(size, tmp_path):
    """Compiled for the CPU: a GPU's compiler reads the same lines."""
    if (compiler := shutil.which("c++") or shutil.which("g++")) is None:
        pytest.skip("no C++ compiler")
    body = body_of(EPS)
    source, library = tmp_path / "body.cpp", tmp_path / "body.so"
    source.write_text(AROUND.format(body=body, size=size, rounds=ROUNDS))
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", source, "-o", library], check=True)
    given = np.random.default_rng(1).uniform(0.01, 9.0, (7, size, size)).astype(np.float32)
    found = np.full_like(given, np.nan)
    pointer = ctypes.POINTER(ctypes.c_float)
    run = getattr(ctypes.CDLL(str(library)), f"run{size}")
    run(given.ctypes.data_as(pointer), 7, found.ctypes.data_as(pointer))
    expected = np.array(by_operations(mx.array(given), ROUNDS, EPS))
    assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("wrong", ["not built", "wrong numbers"])
def test_a_kernel_that_is_not_right_is_not_used(wrong, matrices, monkeypatch):
    def built(*_):
        if wrong == "not built":
            raise RuntimeError("No Metal back-end.")
        return lambda comb: comb * 1.001

    kernel.cache_clear()
    monkeypatch.setattr(module, "on_gpu", lambda: True)
    monkeypatch.setattr(module, "built", built)
    found = sinkhorn(matrices, ROUNDS, EPS)
    kernel.cache_clear()
    assert mx.array_equal(found, by_operations(matrices, ROUNDS, EPS))


def test_training_has_gradients(matrices, monkeypatch):
    monkeypatch.setattr(module, "on_gpu", lambda: True)
    monkeypatch.setattr(module, "kernel", lambda *_: lambda comb: mx.zeros_like(comb))
    found = mx.grad(lambda m: sinkhorn(m, ROUNDS, EPS, training=True)[..., 0].sum())(matrices)
    assert mx.abs(found).max().item() > 0


@pytest.mark.skipif(not on_gpu(), reason="no GPU")
def test_this_gpu_uses_the_kernel(matrices):
    assert kernel(4, ROUNDS, EPS) is not None
    found = sinkhorn(matrices, ROUNDS, EPS)
    assert mx.allclose(found, by_operations(matrices, ROUNDS, EPS), atol=1e-5)
