"""Which models are on this machine."""

import json

import pytest

from mlx_deepseek.catalog.embedded import FOLDERS
from mlx_deepseek.checkpoint import hub
from mlx_deepseek.checkpoint.local_models import (
    LocalModel,
    cached_models,
    local_models,
    models_here,
)
from tests.hub_server import served

CONFIG = b'{"model_type": "deepseek_v3", "vocab_size": 256}'
FILES = {"config.json": CONFIG, "model.safetensors": b"weights"}
OURS = "deepseek-ai/DeepSeek-Tiny"
MLX = "mlx-community/DeepSeek-V3-4bit"


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "cache"))
    repos = {OURS: FILES, MLX: FILES, "meta/other": FILES}
    with served(repos, tmp_path, monkeypatch) as fake:
        yield fake


def test_loadable_deepseek_models_of_the_hubs_cache(server):
    assert cached_models() == []
    for repo in (MLX, "meta/other"):
        hub.fetch(repo)
    server.repos["deepseek-ai/unknown"] = FILES | {"config.json": b'{"model_type": "deepseek_v9"}'}
    hub.fetch("deepseek-ai/unknown")
    hub.fetch_config(OURS)
    assert cached_models() == [MLX]
    hub.fetch(OURS)
    assert cached_models() == [OURS, MLX]


def test_conversions_count_too(server, tmp_path):
    hub.fetch(MLX)
    for name, source in (("a", OURS), ("b", MLX), ("c", "nano"), ("d", 3)):
        folder = tmp_path / "cache" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_bytes(CONFIG)
        (folder / "conversion.json").write_text(json.dumps({"source": source}))
    assert models_here() == [OURS, MLX]


def test_everything_that_loads_without_network(server, tmp_path):
    folder = hub.fetch(MLX)
    made = tmp_path / "cache" / "made"
    made.mkdir(parents=True)
    (made / "config.json").write_bytes(CONFIG)
    (made / "conversion.json").write_text(json.dumps({"source": OURS}))
    assert [model.kind for model in local_models()][-1] == "downloaded"  # no weights in it
    (made / "model.safetensors").write_bytes(b"weights")
    assert local_models() == [
        *(LocalModel(name, path, "embedded") for name, path in FOLDERS.items()),
        LocalModel(MLX, folder, "downloaded", MLX),
        LocalModel(str(made), made, "converted", OURS),
    ]
