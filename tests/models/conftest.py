"""The model of a test module's CASE, and the official code's outputs for it."""

from typing import Any

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint.load_weights import load_source


@pytest.fixture(scope="module")
def model(goldens_root, request) -> Any:
    return load_source(goldens_root / request.module.CASE, mx.float32)[0]


@pytest.fixture(scope="module")
def golden(goldens, request):
    return goldens(request.module.CASE)
