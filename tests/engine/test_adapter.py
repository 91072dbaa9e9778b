"""Adapters that mlx-lm has trained are put in while a model is loaded."""

import json

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from mlx_deepseek import CheckpointError, load

LORA = {"rank": 4, "scale": 10.0, "dropout": 0.0}


def test_an_adapter_is_put_in_and_a_wrong_one_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "cache"))
    trained = load("nano")
    before = trained.logits([1, 2, 3])
    trained.model.freeze()
    linear_to_lora_layers(trained.model, 2, LORA)
    mx.random.seed(0)
    weights = {
        name: mx.random.normal(value.shape) * 0.1
        for name, value in tree_flatten(trained.model.trainable_parameters())
    }
    trained.model.load_weights(list(weights.items()), strict=False)
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": LORA}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)

    adapted = load("nano", adapter=folder)
    assert mx.allclose(adapted.logits([1, 2, 3]), trained.logits([1, 2, 3]), atol=1e-3)
    assert not mx.allclose(adapted.logits([1, 2, 3]), before, atol=1e-3)

    mx.save_safetensors(str(folder / "adapters.safetensors"), {"model.other.lora_a": mx.zeros(2)})
    with pytest.raises(CheckpointError, match="adapter"):
        load("nano", adapter=folder)
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        load("nano", adapter=tmp_path / "nothing")
