"""How the trainers run here."""

from collections.abc import Iterator

import mlx.core as mx
import pytest


@pytest.fixture(scope="module")
def interpreted() -> Iterator[None]:
    """Building machine code takes longer than a few steps; test_trainer.py has it built."""
    mx.disable_compile()
    yield
    mx.enable_compile()
