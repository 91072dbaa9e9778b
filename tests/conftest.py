"""Fixtures for every package: the reference cases under goldens/."""

import json
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

GOLDENS = Path(__file__).parent / "goldens"


@pytest.fixture(scope="session")
def goldens_root() -> Path:
    """The folder of reference cases: HF-layout checkpoints with outputs of the official code."""
    return GOLDENS


@pytest.fixture(scope="session")
def goldens() -> Callable[[str], dict[str, mx.array]]:
    """Reference inputs and outputs of a case by name."""
    return lambda case: mx.load(str(GOLDENS / case / "golden.safetensors"))


@pytest.fixture(scope="session")
def golden_config() -> Callable[[str], dict]:
    """A case's config.json."""
    return lambda case: json.loads((GOLDENS / case / "config.json").read_text())
