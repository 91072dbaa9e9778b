"""Recipes keep weights of any magnitude: nothing becomes zero, infinite or no number."""

import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlx_deepseek as ds
from mlx_deepseek.checkpoint.load_weights import load_model
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import convert
from mlx_deepseek_convert.planning.outputs import Output, quantize_affine
from mlx_deepseek_convert.quality.weight_errors import USUAL
from mlx_deepseek_convert.source.formats import FIXED, NVFP4_RANGE, Setting

SETTINGS = [*(Setting(bits) for bits in (2, 3, 4, 5, 6, 8))]
SETTINGS += [Setting(bits, size, mode) for mode, (size, bits) in FIXED.items()]
# Stored as experts have them: nvfp4 has a scale per matrix only there.
SHAPE = (2, 32, 256)
NORMAL = mx.random.normal(SHAPE, key=mx.random.key(0))


def restored(setting: Setting, value: mx.array) -> mx.array:
    """What is read back of what is stored."""
    codes, scales, *more = Output("x.weight", SHAPE, "BF16", setting).store(value)
    if setting.mode == "affine":
        scales, more = scales.astype(mx.float32), [more[0].astype(mx.float32)]
        return mx.dequantize(codes, scales, *more, **setting.as_config())
    whole = mx.dequantize(codes, scales, **setting.as_config(), dtype=mx.float32)
    return whole * (more[0] / NVFP4_RANGE)[:, None, None] if more else whole


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@settings(deadline=None, max_examples=15)
@given(st.integers(-60, 40), st.integers(-50, 0))
def test_some_per_cent_are_lost_at_any_scale(setting, exponent, between_experts):
    factors = mx.array([1.0, 2.0**between_experts])[:, None, None] * 2.0**exponent
    value = (NORMAL * factors).astype(mx.bfloat16).astype(mx.float32)
    found = restored(setting, value)
    assert mx.isfinite(found).all()
    for ours, theirs in zip(found / factors, value / factors, strict=True):
        error = mx.sqrt(((ours - theirs) ** 2).mean() / (theirs**2).mean()).item()
        assert error < 1.25 * USUAL[setting.mode, setting.bits]


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_ordinary_weights_are_stored_as_mlx_does(bits):
    value = (NORMAL * 0.02).astype(mx.bfloat16)
    ours = quantize_affine(value, Setting(bits))
    for mine, theirs in zip(ours, mx.quantize(value, group_size=64, bits=bits), strict=True):
        assert mx.array_equal(mine, theirs)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_zeros_stay_zeros(setting):
    assert not restored(setting, mx.zeros(SHAPE)).any()


def scaled(folder: Path, to: Path) -> Path:
    """The same function, with pairs of projections a hundred times smaller and larger."""
    factors = {"down_proj": 0.01, "o_proj": 0.01, "up_proj": 100.0, "v_proj": 100.0}
    to.mkdir()
    for path in folder.glob("model*.safetensors"):
        tensors = dict(mx.load(str(path)))
        for name, value in tensors.items():
            factor = factors.get(name.split(".")[-2], 1.0)
            tensors[name] = (value.astype(mx.float32) * factor).astype(value.dtype)
        mx.save_safetensors(str(to / path.name), tensors, {"format": "pt"})
    for path in folder.glob("*.json"):
        shutil.copy(path, to)
    return to


def divergence(folder: Path, converted: Path) -> float:
    ids = list(range(5, 45))
    truth, guess = (ds.load(path, dtype="float32").logits(ids) for path in (folder, converted))
    p, q = (x - mx.logsumexp(x, axis=-1, keepdims=True) for x in (truth, guess))
    return (mx.exp(p) * (p - q)).sum(-1).mean().item()


@pytest.mark.parametrize("recipe", ["nvfp4", "mxfp4", "4bit"])
@pytest.mark.parametrize("case", ["deepseek_llm_7b", "deepseek_moe_16b"])
def test_small_weights_of_the_same_function_lose_no_more(goldens_root, tmp_path, case, recipe):
    source = scaled(goldens_root / case, tmp_path / "scaled")
    convert(source, tmp_path / "out", recipe)
    assert divergence(source, tmp_path / "out") < 0.12


def test_nvfp4_has_a_scale_per_expert_as_mlx_lm_reads_it(goldens_root, tmp_path):
    convert(goldens_root / "deepseek_moe_16b", tmp_path / "out", "nvfp4")
    model, _ = load_model(tmp_path / "out")
    experts = model.model.layers[1].mlp.switch_mlp.up_proj
    assert experts.mode == "nvfp4"
    assert experts.global_scale.shape == (experts.num_experts,)
    assert experts.global_scale.dtype == mx.float32
    # Once more, from the packed weights: the same codes.
    convert(tmp_path / "out", tmp_path / "again", "2bit")
    assert json.loads((tmp_path / "again" / "conversion.json").read_text())["exact"] == 0


BAD = [("nan", np.nan), ("inf", np.inf), ("-inf", -np.inf)]


@pytest.mark.parametrize(("word", "number"), BAD)
@pytest.mark.parametrize("recipe", ["bf16", "4bit", "mxfp8", "nvfp4"])
def test_what_is_no_number_is_named_with_its_place(goldens_root, tmp_path, recipe, word, number):
    source = shutil.copytree(goldens_root / "deepseek_moe_16b", tmp_path / "source")
    name = "model.layers.1.mlp.experts.2.up_proj.weight"
    spoil(source, name, (3, 5), number)
    with pytest.raises(CheckpointError, match=rf"'{name}' is {word} at \[3, 5\].*allow-nonfinite"):
        convert(source, tmp_path / "out", recipe)
    assert not (tmp_path / "out").exists()
    convert(source, tmp_path / "out", recipe, allow_nonfinite=True)
    assert (tmp_path / "out" / "config.json").is_file()


@pytest.mark.parametrize(
    "name", ["model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"]
)
def test_outside_the_layers_too(goldens_root, tmp_path, name):
    source = shutil.copytree(goldens_root / "deepseek_moe_16b", tmp_path / "source")
    spoil(source, name, (-1,), np.nan)
    with pytest.raises(CheckpointError, match=f"{name}' is nan"):
        convert(source, tmp_path / "out")


def spoil(folder: Path, name: str, place: tuple[int, ...], number: float) -> None:
    for path in folder.glob("model*.safetensors"):
        tensors = dict(mx.load(str(path)))
        if name in tensors:
            value = np.array(tensors[name].astype(mx.float32))
            value[place] = number
            tensors[name] = mx.array(value).astype(tensors[name].dtype)
            mx.save_safetensors(str(path), tensors, {"format": "pt"})


def test_float32_beyond_bfloat16_is_named(goldens_root, tmp_path):
    source = shutil.copytree(goldens_root / "deepseek_llm_7b", tmp_path / "source")
    for path in source.glob("model*.safetensors"):
        tensors = {name: value.astype(mx.float32) for name, value in mx.load(str(path)).items()}
        if "model.norm.weight" in tensors:
            tensors["model.norm.weight"][4] = 3.4e38
        mx.save_safetensors(str(path), tensors, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight' is 3\.4e\+38 at \[4\]"):
        convert(source, tmp_path / "out", "bf16")


def test_codes_of_fp8_that_are_no_numbers(goldens_root, tmp_path):
    source = shutil.copytree(goldens_root / "deepseek_v3_fp8", tmp_path / "source")
    info = read_header(source / "model.safetensors")[0]["model.layers.0.mlp.up_proj.weight"]
    with (source / "model.safetensors").open("r+b") as file:
        file.seek(info.start + info.shape[1] + 7)
        file.write(b"\x7f")
    with pytest.raises(CheckpointError, match=r"up_proj\.weight' is nan at \[1, 7\]"):
        convert(source, tmp_path / "out", "mxfp8")
