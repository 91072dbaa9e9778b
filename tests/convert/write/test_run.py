"""Written folders hold exactly what was planned, and appear whole or not at all."""

import fcntl
import json
import shutil
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlx_deepseek import models
from mlx_deepseek.checkpoint.safetensors_header import read_header
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import convert, plan, weights
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.planning.recipes import RECIPES
from mlx_deepseek_convert.source.checkpoint import open_source
from mlx_deepseek_convert.source.formats import NVFP4_RANGE, Setting
from mlx_deepseek_convert.write.run import execute

CASES = [
    "deepseek_moe_16b",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v3_fp8",
    "deepseek_v32_fp8",
    "r1_distill_qwen",
]


def load(folder: Path) -> dict[str, mx.array]:
    tensors: dict[str, mx.array] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= mx.load(str(path))
    return tensors


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("case", CASES)
def test_bf16_is_what_was_read(goldens_root, tmp_path, case):
    source = goldens_root / case
    report = convert(source, tmp_path / "out", "bf16")
    saved = load(tmp_path / "out")
    expected = dict(weights(source, mx.float32))
    assert saved.keys() == expected.keys()
    assert report.tensors_out == len(saved)
    for name, value in expected.items():
        exact = name.endswith("e_score_correction_bias")
        stored = value if exact else value.astype(mx.bfloat16)
        assert saved[name].dtype == stored.dtype
        assert mx.array_equal(saved[name], stored), name


@pytest.mark.parametrize("recipe", list(RECIPES))
@pytest.mark.parametrize("case", ["deepseek_v3_fp8", "deepseek_v2_lite"])
def test_quantized_files_are_as_planned(goldens_root, tmp_path, case, recipe):
    planned = plan(goldens_root / case, recipe)
    report = execute(planned, tmp_path / "out")
    saved = load(tmp_path / "out")
    tensors = [tensor for output in planned.outputs for tensor in output.tensors()]
    assert {name: tuple(value.shape) for name, value in saved.items()} == {
        name: shape for name, _, shape in tensors
    }
    assert sum(value.nbytes for value in saved.values()) == planned.bytes_out == report.bytes_out
    originals = dict(weights(goldens_root / case, mx.float32))
    for output in planned.outputs:
        if output.setting is not None:
            original = originals[output.name]
            values = dequantized(output, saved)
            limit = relative_step(output.setting) * mx.abs(original).max()
            assert mx.abs(values - original).max() <= limit, output.name


def relative_step(setting: Setting) -> float:
    """The largest rounding error of a group over its largest magnitude."""
    if setting.mode == "affine":
        # A step (zero is made exact, so the ends can be off by one), and bfloat16 scales.
        return 2 / (2**setting.bits - 1) + 1 / 64
    return {"mxfp8": 1 / 15, "mxfp4": 1 / 3, "nvfp4": 1 / 5}[setting.mode]


def dequantized(output, saved: dict[str, mx.array]) -> mx.array:
    path = output.name.removesuffix(".weight")
    value = mx.dequantize(
        saved[output.name],
        saved[f"{path}.scales"],
        saved.get(f"{path}.biases"),
        group_size=output.setting.group_size,
        bits=output.setting.bits,
        mode=output.setting.mode,
    ).astype(mx.float32)
    per_expert = saved.get(f"{path}.global_scale")
    return value if per_expert is None else value * (per_expert / NVFP4_RANGE)[:, None, None]


def test_stacked_experts_equal_quantizing_the_stack(goldens_root, tmp_path):
    """Experts are quantized one by one; MLX quantizing all at once gives the same bits."""
    source = goldens_root / "deepseek_v3_fp8"
    planned = plan(source, "4bit")
    execute(planned, tmp_path / "out")
    saved = load(tmp_path / "out")
    originals = dict(weights(source, mx.bfloat16))
    stacked = [o for o in planned.outputs if ".switch_mlp.up_proj" in o.name]
    assert stacked
    for output in stacked:
        for (name, _, _), value in zip(
            output.tensors(), output.store(originals[output.name]), strict=True
        ):
            assert mx.array_equal(saved[name], value)


def test_split_heads_match_the_matrix(goldens_root):
    source = open_source(goldens_root / "deepseek_v3")
    config, made = source.config, dict(weights(source.folder, mx.float32))
    nope, value = config["qk_nope_head_dim"], config["v_head_dim"]
    for layer, target in ((0, "model.layers.0"), (3, "mtp.0")):
        matrix = source.tensors[f"model.layers.{layer}.self_attn.kv_b_proj.weight"].read()
        heads = np.array(matrix.astype(mx.float32)).reshape(-1, nope + value, matrix.shape[-1])
        embed = np.array(made[f"{target}.self_attn.embed_q.weight"])
        np.testing.assert_array_equal(embed, heads[:, :nope].transpose(0, 2, 1))
        unembed = np.array(made[f"{target}.self_attn.unembed_out.weight"])
        np.testing.assert_array_equal(unembed, heads[:, nope:])


def test_shards_split_at_the_limit_and_cover_everything(goldens_root, tmp_path):
    planned = make_plan(open_source(goldens_root / "deepseek_v3"), "bf16", shard_bytes=100_000)
    execute(planned, tmp_path / "out")
    names = entries(tmp_path / "out")
    shards = [name for name in names if name.startswith("model-")]
    assert len(shards) > 2
    assert shards[-1] == f"model-{len(shards):05d}-of-{len(shards):05d}.safetensors"
    for name in shards:
        tensors, metadata = read_header(tmp_path / "out" / name)
        assert metadata == {"format": "mlx"}
        assert len(tensors) == 1 or sum(info.nbytes for info in tensors.values()) <= 100_000
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    main = {tensor for name in shards for tensor in mx.load(str(tmp_path / "out" / name))}
    assert index["weight_map"].keys() == main
    mtp = mx.load(str(tmp_path / "out" / "mtp.safetensors"))
    assert all(name.startswith("mtp.0.") for name in mtp)
    flat = tree_flatten(models.build(planned.config).parameters())
    assert main | mtp.keys() == {name for name, _ in flat}


def test_conversions_are_reproducible(goldens_root, tmp_path):
    for name in ("a", "b"):
        convert(goldens_root / "deepseek_v3_fp8", tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_config_and_companions(goldens_root, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(goldens_root / "deepseek_v3_fp8", source)
    for name in ("tokenizer.json", "generation_config.json", "chat_template.jinja", "modeling.py"):
        (source / name).write_text(name)
    convert(source, tmp_path / "out")
    names = entries(tmp_path / "out")
    assert "modeling.py" not in names
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == "chat_template.jinja"
    before = json.loads((source / "config.json").read_text())
    after = json.loads((tmp_path / "out" / "config.json").read_text())
    quantization = after.pop("quantization")
    assert after.pop("quantization_config") == quantization
    assert before.pop("quantization_config")["quant_method"] == "fp8"
    assert after == before
    assert {"group_size", "bits", "mode"} <= quantization.keys()
    assert quantization["model.layers.0.self_attn.o_proj"] == {
        "group_size": 64,
        "bits": 6,
        "mode": "affine",
    }
    assert quantization["model.layers.1.mlp.switch_mlp.down_proj"] is False  # 40 wide


def test_missing_mtp_layers_are_left_out(goldens_root, tmp_path):
    """Uploads without the MTP layer that config.json counts convert to a model without one."""
    source = open_source(goldens_root / "deepseek_v3")
    kept = {n: t for n, t in source.tensors.items() if not n.startswith("model.layers.3.")}
    planned = make_plan(type(source)(source.folder, source.config, kept, len(kept), {}), "bf16")
    assert not any(output.name.startswith("mtp.") for output in planned.outputs)
    assert list(planned.files) == ["model.safetensors"]


def test_two_conversions_at_once(goldens_root, tmp_path):
    partial = tmp_path / "out.partial"
    partial.mkdir()
    with (partial / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another conversion"):
            convert(goldens_root / "deepseek_v3", tmp_path / "out")
    assert entries(partial) == [".lock"]


def test_other_folders_are_never_touched(goldens_root, tmp_path):
    source, target = goldens_root / "deepseek_v3", tmp_path / "out"
    target.mkdir()
    (target / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(CheckpointError, match="not a converted checkpoint"):
            convert(source, target, overwrite=overwrite)
    assert (target / "thesis.txt").read_text() == "mine"
    partial = tmp_path / "new.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="not ours"):
        convert(source, tmp_path / "new")
    assert entries(partial) == ["thesis.txt"]
    with pytest.raises(CheckpointError, match="is a file"):
        convert(source, partial / "thesis.txt")
    with pytest.raises(CheckpointError, match="source's folder"):
        convert(source, source / "out")


def test_overwriting_an_earlier_conversion(goldens_root, tmp_path):
    source, target = goldens_root / "deepseek_v3", tmp_path / "out"
    convert(source, target, "bf16")
    with pytest.raises(CheckpointError, match="exists already"):
        convert(source, target, "4bit")
    assert "quantization" not in json.loads((target / "config.json").read_text())
    convert(source, target, "4bit", overwrite=True)
    assert "quantization" in json.loads((target / "config.json").read_text())
    assert entries(tmp_path) == ["out"]


def test_a_full_disk_is_noticed_before_the_first_byte(goldens_root, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(CheckpointError, match="free, the conversion"):
        convert(goldens_root / "deepseek_v3", tmp_path / "out")
    assert entries(tmp_path) == []


def test_progress_ends_at_the_total(goldens_root, tmp_path):
    calls: list[tuple[int, int]] = []
    report = convert(
        goldens_root / "deepseek_v3", tmp_path / "out", progress=lambda *call: calls.append(call)
    )
    assert calls == sorted(calls)
    assert calls[-1] == (report.bytes_out, report.bytes_out)
