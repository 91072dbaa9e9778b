"""LoRA adapters of PEFT and mlx-lm are added exactly, and only where they belong."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten, tree_map
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model as mlx_lm_model

import mlx_deepseek as ds
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek_convert import convert, plan, weights
from mlx_deepseek_convert.mapping.adapters import merge_adapter
from mlx_deepseek_convert.planning import chunks
from mlx_deepseek_convert.planning.chunks import lay_out
from mlx_deepseek_convert.source.checkpoint import open_source
from tests.convert.write.test_run import load

PEFT = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none"}
MLX = {"fine_tune_type": "lora", "lora_parameters": {"rank": 4, "scale": 2.0}}
CHANGED = "model.layers.1.self_attn.o_proj.weight"


def peft_adapter(folder: Path, shapes: dict[str, tuple[int, int]], **config) -> Path:
    folder.mkdir()
    halves = {}
    for name, (out, into) in shapes.items():
        path = "base_model.model." + name.removesuffix(".weight")
        halves[f"{path}.lora_A.weight"] = mx.random.normal((4, into), key=mx.random.key(1))
        halves[f"{path}.lora_B.weight"] = mx.random.normal((out, 4), key=mx.random.key(2))
    mx.save_safetensors(str(folder / "adapter_model.safetensors"), halves)
    (folder / "adapter_config.json").write_text(json.dumps(PEFT | config))
    return folder


def mlx_adapter(folder: Path, halves: dict[str, mx.array]) -> Path:
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), halves)
    (folder / "adapter_config.json").write_text(json.dumps(MLX))
    return folder


@pytest.mark.parametrize("case", ["deepseek_llm_7b", "deepseek_v3", "deepseek_v3_fp8"])
@pytest.mark.parametrize("small_chunks", [False, True])
def test_peft(goldens_root, tmp_path, case, small_chunks, monkeypatch):
    if small_chunks:
        monkeypatch.setattr(chunks, "lay_out", lambda planned: lay_out(planned, 3000))
    source = goldens_root / case
    shape = open_source(source).tensors[CHANGED].shape
    adapter = peft_adapter(tmp_path / "adapter", {CHANGED: shape})
    convert(source, tmp_path / "out", "bf16", adapter=adapter)
    halves = mx.load(str(adapter / "adapter_model.safetensors"))
    a, b = (value for _, value in sorted(halves.items()))
    original, saved = dict(weights(source, mx.float32)), load(tmp_path / "out")
    expected = (original[CHANGED] + 2.0 * (b @ a)).astype(mx.bfloat16)
    assert mx.abs(saved[CHANGED].astype(mx.float32) - expected.astype(mx.float32)).max() < 0.07
    assert mx.mean(mx.abs(saved[CHANGED] - expected)) < 1e-3
    for name in saved.keys() - {CHANGED}:
        assert mx.array_equal(saved[name], original[name].astype(saved[name].dtype))


def test_mlx_lm_on_stacked_experts_and_quantized_weights(goldens_root, tmp_path):
    convert(goldens_root / "deepseek_v2_lite", tmp_path / "mlx", "8bit")
    experts = "model.layers.1.mlp.switch_mlp.up_proj"
    plain = "model.layers.0.self_attn.o_proj"
    tensors = open_source(tmp_path / "mlx").tensors
    count, out, into = tensors[f"{experts}.weight"].shape
    rows, columns = tensors[f"{plain}.weight"].shape
    key = mx.random.key(5)
    halves = {
        f"{experts}.lora_a": mx.random.normal((count * 4, into), key=key),
        f"{experts}.lora_b": mx.random.normal((count, out, 4), key=key),
        f"{plain}.lora_a": mx.random.normal((columns, 4), key=key),
        f"{plain}.lora_b": mx.random.normal((4, rows), key=key),
    }
    adapter = mlx_adapter(tmp_path / "adapter", halves)
    merged = merge_adapter(open_source(tmp_path / "mlx"), adapter).tensors
    for name in (experts, plain):
        base = tensors[f"{name}.weight"].read().astype(mx.float32)
        a, b = halves[f"{name}.lora_a"], halves[f"{name}.lora_b"]
        delta = b @ a.reshape(count, 4, into) if b.ndim == 3 else b.T @ a.T
        assert mx.allclose(merged[f"{name}.weight"].read(), base + 2.0 * delta, atol=1e-4)
    item = merged[f"{experts}.weight"].item(1)
    assert mx.allclose(item.read(), merged[f"{experts}.weight"].read()[1], atol=1e-5)
    report = convert(tmp_path / "mlx", tmp_path / "out", "8bit", adapter=adapter)
    assert report.exact_parameters < report.parameters
    assert (tmp_path / "out" / "config.json").is_file()


def test_another_adapter_is_another_conversion(goldens_root, tmp_path):
    source = open_source(goldens_root / "deepseek_llm_7b")
    shape = source.tensors[CHANGED].shape
    one = merge_adapter(source, peft_adapter(tmp_path / "one", {CHANGED: shape}))
    two = merge_adapter(source, peft_adapter(tmp_path / "two", {CHANGED: shape}, lora_alpha=9))
    assert len({source.identity, one.identity, two.identity}) == 3


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ({"r": 0}, ConfigError, "no plain LoRA"),
        ({"r": "4"}, ConfigError, "no plain LoRA"),
        ({"use_dora": True}, ConfigError, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, ConfigError, "modules_to_save"),
        ({"bias": "all"}, ConfigError, "without biases"),
        ({"peft_type": "IA3"}, ConfigError, "no plain LoRA"),
    ],
)
def test_other_kinds_are_refused(goldens_root, tmp_path, config, error, words):
    adapter = peft_adapter(tmp_path / "adapter", {CHANGED: (64, 64)}, **config)
    with pytest.raises(error, match=words):
        plan(goldens_root / "deepseek_llm_7b", adapter=adapter)


def test_adapters_of_other_models_are_refused(goldens_root, tmp_path):
    source = goldens_root / "deepseek_llm_7b"
    adapter = peft_adapter(tmp_path / "shape", {CHANGED: (3, 5)})
    with pytest.raises(CheckpointError, match=r"o_proj\.weight' \[3, 5\]"):
        plan(source, adapter=adapter)
    adapter = peft_adapter(tmp_path / "name", {"model.other.weight": (3, 5)})
    with pytest.raises(CheckpointError, match="which the model does not have"):
        plan(source, adapter=adapter)
    half = mlx_adapter(tmp_path / "half", {"model.x.lora_a": mx.zeros((3, 4))})
    with pytest.raises(CheckpointError, match=r"model\.x\.lora_b' is no half"):
        plan(source, adapter=half)
    with pytest.raises(ConfigError, match="adapter_config"):
        plan(source, adapter=tmp_path / "nowhere")
    shutil.rmtree(half)
    flat = mlx_adapter(half, {"model.x.lora_a": mx.zeros((3,)), "model.x.lora_b": mx.zeros((3,))})
    with pytest.raises(CheckpointError, match="Expected matrices"):
        plan(source, adapter=flat)


def test_what_mlx_lm_trains_of_a_mixture_of_experts(tmp_path):
    mx.random.seed(0)  # mlx-lm's own initial values
    """Its defaults: every linear module of the last layers, stacks of experts too."""
    convert("nano", tmp_path / "mlx", "bf16")
    model, _ = mlx_lm_model(tmp_path / "mlx")
    model.update(tree_map(lambda value: value.astype(mx.float32), model.parameters()))
    model.freeze()
    parameters = {"rank": 4, "scale": 2.0, "dropout": 0.0}
    linear_to_lora_layers(model, 2, parameters)
    halves = dict(tree_flatten(model.trainable_parameters()))
    keys = mx.random.split(mx.random.key(0), len(halves))
    for key, (name, value) in zip(keys, halves.items(), strict=True):
        if name.endswith("lora_b"):
            halves[name] = 0.05 * mx.random.normal(value.shape, key=key)
    model.load_weights(list(halves.items()), strict=False)
    experts = [value for name, value in halves.items() if "switch_mlp" in name and "_a" in name]
    assert {value.ndim for value in experts} == {3}
    adapter = mlx_adapter(tmp_path / "adapter", halves)
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": parameters}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    ids = [5, 7, 9, 11, 13]
    theirs = model(mx.array([ids]))[0]
    base = ds.load("nano", dtype="float32").logits(ids)
    written = []
    for number, source in enumerate(("nano", tmp_path / "mlx")):  # a release's names, and MLX's
        convert(source, tmp_path / f"{number}", "bf16", adapter=adapter)
        ours = ds.load(tmp_path / f"{number}", dtype="float32").logits(ids)
        assert mx.abs(ours - theirs).max() < 0.1 * mx.abs(base - theirs).max()
        written.append((tmp_path / f"{number}" / "model.safetensors").read_bytes())
    assert written[0] == written[1]


def test_an_embeddings_halves_are_the_other_way_round(goldens_root, tmp_path):
    source = open_source(goldens_root / "deepseek_llm_7b")
    name = "model.embed_tokens"
    rows, width = source.tensors[f"{name}.weight"].shape
    halves = {f"{name}.lora_a": mx.ones((rows, 4)), f"{name}.lora_b": mx.ones((4, width))}
    merged = merge_adapter(source, mlx_adapter(tmp_path / "adapter", halves)).tensors
    change = merged[f"{name}.weight"].read() - source.tensors[f"{name}.weight"].read()
    assert mx.allclose(change, mx.full((rows, width), 8.0), atol=0.1)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((8, 4, 32), (7, 64, 4)),
        ((7, 4, 32), (8, 64, 4)),
        ((4,), (8, 64, 4)),
        ((2, 2, 2, 2), (4, 4)),
    ],
)
def test_halves_that_do_not_belong_together(goldens_root, tmp_path, a, b):
    path = "model.layers.1.mlp.switch_mlp.up_proj"
    halves = {f"{path}.lora_a": mx.zeros(a), f"{path}.lora_b": mx.zeros(b)}
    with pytest.raises(CheckpointError):
        plan(goldens_root / "deepseek_moe_16b", adapter=mlx_adapter(tmp_path / "adapter", halves))
