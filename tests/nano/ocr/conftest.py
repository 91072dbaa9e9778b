"""Fonts that pictures are drawn with."""

import os

import pytest

from mlx_deepseek.nano.ocr.pictures import FONTS, installed


@pytest.fixture(autouse=True, scope="session")
def fonts():
    """Skip where none of the training fonts is installed; CI installs them."""
    if not any(name in installed() for name in FONTS):
        reason = "no fonts: apt-get install fonts-dejavu"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
