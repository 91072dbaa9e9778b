"""Loading: our folders, mlx-lm's, older quantized kv_b_proj ones, and everything that is broken."""

import json
import shutil

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model as mlx_lm_load_model
from mlx_lm.utils import quantize_model, save_config, save_model

from mlx_deepseek.checkpoint.files import INDEX, MTP_FILE
from mlx_deepseek.checkpoint.load_weights import load_model, load_source
from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek_convert import convert

IDS = mx.array([[3, 17, 5, 41, 29, 8, 60, 2]])


def close(a: mx.array, b: mx.array, limit: float = 1e-4) -> bool:
    return float(mx.abs(a - b).max() / mx.sqrt(mx.var(b))) <= limit


def tensors(folder) -> dict[str, mx.array]:
    found: dict[str, mx.array] = {}
    for path in folder.glob("*.safetensors"):
        found |= mx.load(str(path))
    return found


def rewrite(folder, change) -> None:
    """Replace a folder's weights by change(weights), in one file without index."""
    weights = change(tensors(folder))
    mx.eval(weights)
    for path in [*folder.glob("*.safetensors"), folder / INDEX]:
        path.unlink(missing_ok=True)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})


@pytest.fixture(scope="module")
def converted(goldens_root, tmp_path_factory):
    """A tiny V3 checkpoint with MTP, converted with each recipe once."""
    root = tmp_path_factory.mktemp("converted")

    def make(recipe: str, case: str = "deepseek_v3"):
        if not (root / f"{case}-{recipe}").exists():
            convert(goldens_root / case, root / f"{case}-{recipe}", recipe)
        return root / f"{case}-{recipe}"

    return make


@pytest.fixture
def folder(converted, tmp_path):
    """A copy to damage."""
    return shutil.copytree(converted("bf16"), tmp_path / "copy")


def test_source_in_float32_gives_the_reference_logits(goldens_root, goldens):
    golden = goldens("deepseek_v3_fp8")
    model, _ = load_source(goldens_root / "deepseek_v3_fp8", mx.float32)
    assert close(model(golden["input_ids"]), golden["logits"])
    assert close(model.mtp_logits(golden["input_ids"]), golden["mtp_logits"])


def test_bf16_conversion_computes_with_the_same_values(converted, goldens_root):
    rounded, _ = load_source(goldens_root / "deepseek_v3", mx.bfloat16)
    rounded.set_dtype(mx.float32)
    model, config = load_model(converted("bf16"), dtype=mx.float32)
    assert config["num_nextn_predict_layers"] == 1
    assert close(model(IDS), rounded(IDS), 1e-3)


@pytest.mark.parametrize(
    "case", ["deepseek_moe_16b", "deepseek_v2", "deepseek_v3", "r1_distill_qwen"]
)
def test_what_mlx_lm_quantized_loads_as_it_is(goldens_root, tmp_path, case):
    theirs, config = mlx_lm_load_model(goldens_root / case, strict=False)  # not the MTP layer
    theirs, config = quantize_model(theirs, config, group_size=32, bits=4)
    save_model(tmp_path, theirs)
    save_config(config, tmp_path / "config.json")
    ours, _ = load_model(tmp_path, dtype=mx.float32)
    theirs.set_dtype(mx.float32)
    assert close(ours(IDS), theirs(IDS))


def test_quantized_kv_b_proj_of_older_checkpoints_loses_nothing(converted, tmp_path):
    old = shutil.copytree(converted("bf16"), tmp_path / "old")
    new = shutil.copytree(converted("bf16"), tmp_path / "new")
    config = json.loads((old / "config.json").read_text())
    heads, nope = config["num_attention_heads"], config["qk_nope_head_dim"]
    quantization = {"group_size": 32, "bits": 4}

    def join(weights: dict) -> tuple[dict, dict]:
        packed, exact = {}, {}
        for name, value in weights.items():
            if name.startswith("mtp."):
                continue
            if ".embed_q." in name:
                values = weights[name.replace("embed_q", "unembed_out")]
                both = mx.concatenate([value.swapaxes(-1, -2), values], axis=1)
                both = both.astype(mx.float32)  # bfloat16 would round what dequantize gives
                q = mx.quantize(both.reshape(-1, both.shape[-1]), **quantization)
                kv = name.replace("embed_q", "kv_b_proj")
                packed |= {kv: q[0], kv[:-6] + "scales": q[1], kv[:-6] + "biases": q[2]}
                plain = mx.dequantize(*q, **quantization).reshape(heads, -1, both.shape[-1])
                exact[name] = mx.contiguous(plain[:, :nope].swapaxes(-1, -2))
                exact[name.replace("embed_q", "unembed_out")] = mx.contiguous(plain[:, nope:])
            elif ".unembed_out." not in name:
                packed[name] = exact[name] = value
        return packed, exact

    rewrite(old, lambda weights: join(weights)[0])
    rewrite(new, lambda weights: join(weights)[1])
    (old / "config.json").write_text(json.dumps({**config, "quantization": quantization}))
    ours, _ = load_model(old, dtype=mx.float32)
    exact, _ = load_model(new, dtype=mx.float32)
    assert isinstance(ours.layers[0].self_attn.kv_b_proj, nn.QuantizedLinear)
    assert close(ours(IDS), exact(IDS), 1e-5)


def test_quantization_per_path(converted):
    model, config = load_model(converted("4bit"))
    kinds = {getattr(module, "bits", None) for _, module in model.named_modules()}
    assert {4, 8} & kinds
    named = [path for path, value in config["quantization"].items() if isinstance(value, dict)]
    modules = dict(model.named_modules())
    assert named
    for path in named:
        assert modules[path].bits == config["quantization"][path]["bits"]


def test_on_cpu_everything_is_float32_but_what_is_packed(converted):
    if mx.default_device() != mx.Device(mx.cpu):
        pytest.skip("GPUs compute in the checkpoint's dtype")
    model, _ = load_model(converted("4bit"))
    flat = dict(tree_flatten(model.parameters()))
    assert {str(value.dtype) for value in flat.values()} <= {"mlx.core.float32", "mlx.core.uint32"}


def test_without_its_file_the_mtp_layer_is_absent(folder):
    (folder / MTP_FILE).unlink()
    model, config = load_model(folder)
    assert config["num_nextn_predict_layers"] == 0
    with pytest.raises(ConfigError, match="multi-token"):
        model.mtp_logits(IDS)


def test_files_outside_the_index_are_left_alone(folder):
    expected, _ = load_model(folder)
    mx.save_safetensors(str(folder / "model-00009-of-00009.safetensors"), {"stale": mx.zeros(3)})
    model, _ = load_model(folder)
    assert close(model(IDS), expected(IDS), 1e-6)


def test_missing_and_unknown_tensors_are_named(folder):
    def change(weights: dict) -> dict:
        del weights["model.layers.1.self_attn.o_proj.weight"]
        return weights | {"model.layers.9.surprise": mx.zeros(2)}

    rewrite(folder, change)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert "lacks 1 tensors: 'model.layers.1.self_attn.o_proj.weight'" in str(caught.value)
    assert "unknown 1 tensors: 'model.layers.9.surprise'" in str(caught.value)


def test_wrong_shape_is_named(folder):
    rewrite(folder, lambda weights: weights | {"model.norm.weight": mx.zeros(7)})
    with pytest.raises(CheckpointError, match=r"'model.norm.weight' is \[7\].*Expected \[64\]"):
        load_model(folder)


def test_truncated_file(folder):
    path = max(folder.glob("model*.safetensors"), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cut short"):
        load_model(folder)


def test_missing_shard_names_a_tensor(folder):
    shard = next(iter(folder.glob("model*.safetensors")))
    shard.unlink()
    with pytest.raises(CheckpointError, match="shard missing; it holds tensor"):
        load_model(folder)


def test_missing_shard_without_index(folder):
    (folder / INDEX).unlink()
    for path in folder.glob("model*.safetensors"):
        path.rename(folder / "model-00002-of-00003.safetensors")
    with pytest.raises(CheckpointError, match=r"model-00001-of-00003\.safetensors: shard missing"):
        load_model(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a\\b.safetensors", 3])
def test_index_that_leaves_the_folder(folder, name):
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["lm_head.weight"] = name
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="own folder"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "[1, 2]", "{", '"model"'])
def test_config_that_is_no_object(folder, text):
    (folder / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_model(folder)


def test_quantization_that_is_none(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization": {"bits": 4}}))
    with pytest.raises(ConfigError, match="group_size"):
        load_model(folder)


def test_no_folder_and_no_weights(tmp_path):
    with pytest.raises(CheckpointError, match="no such folder"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="no weights"):
        load_model(tmp_path)


def test_stop_tokens_of_generation_config_count(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 7]}')
    assert load_model(folder)[1]["eos_token_id"] == [1, 7]
