"""Checkpoints in the names and shapes of mlx-vlm's converter, made here from releases."""

import json
import re
import shutil

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from mlx_deepseek.checkpoint.load_weights import load_model, load_source
from mlx_deepseek.checkpoint.mlx_vlm_names import rename, renamed, renamed_modules
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import convert, export, is_source
from tests.convert.mapping.test_vision_maps import UNUSED
from tests.convert.test_release import raw

CASES = ["deepseek_ocr", "deepseek_vl_7b", "deepseek_vl_1p3b", "deepseek_vl2_tiny", "deepseek_vl2"]
# The prefixes that mlx-vlm's `sanitize` changes, by model.
PREFIXES = {
    "deepseek_ocr": (
        (r"model\.(layers|embed_tokens|norm)", r"language_model.model.\1"),
        (r"lm_head", "language_model.lm_head"),
        (r"model\.view_seperator", "view_separator"),
        (r"model\.", ""),
    ),
    "deepseek_vl2": (
        (r"language\.", "language_model."),
        (r"vision\.", "vision.vision_tower."),
        (r"view_seperator", "view_separator"),
    ),
    "deepseek_vl": (),
}
EXPERT = re.compile(r"(.*\.mlp\.)experts\.(\d+)\.(.*)")


def converted(case: str, weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """A release's tensors as mlx-vlm stores them."""
    out: dict[str, mx.array] = {}
    experts: dict[str, dict[int, mx.array]] = {}
    prefixes = next(value for model, value in PREFIXES.items() if case.startswith(model))
    for name, value in weights.items():
        for pattern, replacement in prefixes:
            if re.match(pattern, name):
                name = re.sub(f"^{pattern}", replacement, name)
                break
        if expert := EXPERT.fullmatch(name):
            experts.setdefault(expert[1] + "switch_mlp." + expert[3], {})[int(expert[2])] = value
        else:
            out[name] = value.transpose(0, 2, 3, 1) if is_convolution(name, value) else value
    for name, values in experts.items():
        out[name] = mx.stack([values[i] for i in range(len(values))])
    return out


def is_convolution(name: str, value: mx.array) -> bool:
    return value.ndim == 4 and not name.endswith(("pos_embed", "latent"))


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture
def folder(case, goldens_root, tmp_path):
    """What `mlx_vlm.convert` makes of a case, in its own type."""
    weights: dict[str, mx.array] = {}
    for path in (goldens_root / case).glob("model*.safetensors"):
        weights.update(mx.load(str(path)))  # type: ignore[arg-type]
    out = tmp_path / "mlx_vlm"
    out.mkdir()
    made = converted(case, weights)
    mx.save_safetensors(str(out / "model.safetensors"), made, metadata={"format": "mlx"})
    shutil.copy(goldens_root / case / "config.json", out)
    return out


def test_loads_as_the_release_does(case, folder, goldens_root):
    assert not is_source(folder)
    ours = dict(tree_flatten(load_model(folder, dtype=mx.float32)[0].parameters()))
    theirs = dict(tree_flatten(load_source(goldens_root / case, mx.float32)[0].parameters()))
    assert ours.keys() == theirs.keys()
    assert all(mx.array_equal(ours[name], theirs[name]) for name in ours)


def test_converts_as_the_release_does(case, folder, goldens_root, tmp_path):
    convert(folder, tmp_path / "ours", "4bit")
    convert(goldens_root / case, tmp_path / "direct", "4bit")
    for path in (tmp_path / "direct").glob("*.safetensors"):
        assert (tmp_path / "ours" / path.name).read_bytes() == path.read_bytes()
    export(folder, tmp_path / "back")
    original = raw(goldens_root / case)
    assert raw(tmp_path / "back").keys() == {
        name for name in original if not any(part in name for part in UNUSED)
    }


@pytest.mark.parametrize("case", ["deepseek_ocr"], indirect=True)
def test_quantized_encoders_and_settings_of_single_modules(folder):
    """mlx-community's files of DeepSeek-OCR have SAM quantized, and paths in config.json."""
    weights: dict[str, mx.array] = mx.load(str(folder / "model.safetensors"))  # type: ignore
    paths = {"language_model.model.layers.0.mlp.down_proj": 8, "sam_model.blocks.0.mlp.lin2": 4}
    expected = {}
    for path, bits in paths.items():
        quantized = mx.quantize(weights[f"{path}.weight"], group_size=32, bits=bits)
        for kind, value in zip(("weight", "scales", "biases"), quantized, strict=True):
            weights[f"{path}.{kind}"] = value
        expected[path] = mx.dequantize(*quantized, group_size=32, bits=bits)
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "deepseekocr"}
    config["quantization"] = {"group_size": 32, "bits": 8, "vision_model.pre_layrnorm": False}
    config["quantization"]["sam_model.blocks.0.mlp.lin2"] = {"group_size": 32, "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    model, _ = load_model(folder, dtype=mx.float32)
    found = model.language.layers[0].mlp.down_proj, model.vision.sam.blocks[0].mlp.fc2
    for layer, (path, bits) in zip(found, paths.items(), strict=True):
        assert isinstance(layer, nn.QuantizedLinear)
        assert layer.bits == bits
        parts = layer.weight, layer.scales, layer.biases
        value = mx.dequantize(*parts, group_size=32, bits=bits)
        assert mx.allclose(value, expected[path].astype(value.dtype), atol=1e-2)


def test_a_tensor_without_a_place_is_named(tmp_path, goldens_root):
    weights = {"language_model.model.surprise.weight": mx.zeros((2, 2))}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), weights)
    shutil.copy(goldens_root / "deepseek_ocr" / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match=r"language\.model\.surprise\.weight"):
        load_model(tmp_path)


@pytest.mark.parametrize("case", ["deepseek_v3", "deepseek_llm_7b", *CASES])
def test_own_names_stay(case, golden_config):
    from mlx_deepseek import models

    names = [name for name, _ in tree_flatten(models.build(golden_config(case)).parameters())]
    assert [rename(name) for name in names] == names
    assert list(renamed(dict.fromkeys(names))) == names


def test_settings():
    settings = {"bits": 4, "group_size": 64, "mode": "affine", "projector.layers": {"bits": 8}}
    settings |= {"vision_model.transformer.layers.3.self_attn.qkv_proj": False}
    assert renamed_modules(settings) == {
        "bits": 4,
        "group_size": 64,
        "mode": "affine",
        "projector": {"bits": 8},
        "vision.clip.blocks.3.attn.qkv": False,
    }
