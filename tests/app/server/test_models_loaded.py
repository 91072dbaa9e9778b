"""Which models a server names, and what a request's name means."""

import pytest

from mlx_deepseek.checkpoint.local_models import LocalModel
from mlx_deepseek_app.server import models_loaded
from mlx_deepseek_app.server.errors import ApiError
from mlx_deepseek_app.server.models_loaded import LoadedModels


@pytest.fixture
def models(monkeypatch, tmp_path):
    here = [
        LocalModel("nano", tmp_path, "embedded", None),
        LocalModel("deepseek-ai/DeepSeek-R1", tmp_path, "downloaded", "deepseek-ai/DeepSeek-R1"),
        LocalModel(str(tmp_path / "text-bf16-12ab"), tmp_path, "converted", None),
    ]
    monkeypatch.setattr(models_loaded, "local_models", lambda: here)
    return LoadedModels(lambda source, progress=None: None, [str(tmp_path / "mine"), "nano"])


def test_what_was_named_comes_first_and_digests_are_no_names(models):
    assert models.listed() == ["mine", "nano", "deepseek-ai/DeepSeek-R1"]


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("", "mine"),
        ("claude-sonnet-5", "mine"),
        ("deepseek-chat", "mine"),
        ("DeepSeek-R1", "deepseek-ai/DeepSeek-R1"),
        ("nano", "nano"),
    ],
)
def test_names(models, name, means):
    assert models.named(name).id == means


def test_an_unknown_name_is_told_the_nearest(models):
    with pytest.raises(ApiError, match="Did you mean nano"):
        models.named("nanoo")
