"""A CPU computes what was written: its compiler would take seconds before the first answer."""

import os
import subprocess
import sys
import threading

import mlx.core as mx
import pytest

from mlx_deepseek.runtime import device
from mlx_deepseek.runtime.compute_thread import ComputeThread
from mlx_deepseek.runtime.device import on_gpu, uncompiled

pytestmark = pytest.mark.usefixtures("compiled")
cpu_only = pytest.mark.skipif(on_gpu(), reason="GPUs compile: it pays there")


def traced():
    """A compiled function, and the calls of what it wraps: one where it was compiled."""
    calls = []

    @mx.compile
    def function(x):
        calls.append(x)
        return x * 2 + 1

    return function, calls


def times(function, calls):
    for _ in range(3):
        mx.eval(function(mx.ones(4)))
    return len(calls)


@cpu_only
def test_inside_nothing_is_compiled_and_outside_it_is():
    assert times(*traced()) == 1
    with uncompiled():
        assert times(*traced()) == 3
        with uncompiled():
            pass
        assert times(*traced()) == 3
    assert times(*traced()) == 1
    with pytest.raises(ValueError, match="in it"), uncompiled():
        raise ValueError("in it")
    assert times(*traced()) == 1


@cpu_only
def test_two_threads_share_the_switch():
    begun, go = threading.Event(), threading.Event()

    def other():
        with uncompiled():
            begun.set()
            go.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait(60)
    with uncompiled():
        pass
    assert times(*traced()) == 3
    go.set()
    thread.join()
    assert times(*traced()) == 1


def test_a_gpu_and_the_user_s_own_switch_are_left_alone(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(device, "on_gpu", lambda: True)
        with uncompiled():
            assert times(*traced()) == 1
    monkeypatch.setenv("MLX_DISABLE_COMPILE", "1")
    mx.disable_compile()
    with uncompiled():
        pass
    assert times(*traced()) == 3


@cpu_only
def test_engines_compute_that_way():
    assert ComputeThread("plain").call(times, *traced()) == 3


ANSWER = """
import mlx_deepseek as ds
engine = ds.load("nano")
engine.generate("What is 347 + 586?", max_tokens=3)
engine.generate("What is 347 + 586?", max_tokens=3, temperature=1.0, top_p=0.9, seed=1)
"""


@cpu_only
def test_a_first_answer_runs_no_compiler(tmp_path):
    """MLX writes what it compiles into the folder of temporary files."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", ANSWER], check=True, env=environment, timeout=300)
    assert [path.name for path in tmp_path.rglob("*.cpp")] == []
