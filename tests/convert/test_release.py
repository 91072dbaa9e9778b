"""From MLX checkpoints: to fewer bits, and back to a release's names and shapes."""

import json
import shutil

import mlx.core as mx
import pytest

from mlx_deepseek.errors import CheckpointError, ConfigError
from mlx_deepseek_convert import convert, export, plan, weights
from mlx_deepseek_convert.source.checkpoint import open_source
from tests.convert.write.test_run import dequantized, load

CASES = [
    "deepseek_llm_7b",
    "deepseek_llm_67b",
    "deepseek_coder_6p7b",
    "deepseek_moe_16b",
    "deepseek_v2",
    "deepseek_v2_lite",
    "deepseek_v3",
    "deepseek_v32",
    "r1_distill_llama",
    "r1_distill_qwen",
    "r1_0528_qwen3",
]


def raw(folder):
    """Name -> dtype, shape, bytes of every tensor of a release."""
    found = {}
    for name, tensor in open_source(folder).tensors.items():
        info = tensor.info
        with info.file.open("rb") as file:
            file.seek(info.start)
            found[name] = info.dtype, info.shape, file.read(info.nbytes)
    return found


def in_float32(output, saved):
    """A quantized output's values, not rounded to its scales' bfloat16."""
    return dequantized(output, {name: in_full(value) for name, value in saved.items()})


def in_full(value):
    return value.astype(mx.float32) if value.dtype == mx.bfloat16 else value


@pytest.mark.parametrize("case", CASES)
def test_there_and_back_again(goldens_root, tmp_path, case):
    """Every tensor that the release stores, byte for byte; and a checkpoint that converts again."""
    source = goldens_root / case
    convert(source, tmp_path / "mlx", "bf16")
    report = export(tmp_path / "mlx", tmp_path / "back")
    assert report.recipe == "release"
    original = {name: t for name, t in raw(source).items() if "inv_freq" not in name}
    assert raw(tmp_path / "back") == original
    before, after = (
        json.loads((folder / "config.json").read_text()) for folder in (source, tmp_path / "back")
    )
    assert after == before
    convert(tmp_path / "back", tmp_path / "again", "bf16")
    for path in (tmp_path / "mlx").glob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_quantized_ones_come_back_as_their_values(goldens_root, tmp_path):
    convert(goldens_root / "deepseek_v3_fp8", tmp_path / "mlx", "8bit")
    export(tmp_path / "mlx", tmp_path / "back")
    config = json.loads((tmp_path / "back" / "config.json").read_text())
    assert "quantization" not in config
    assert "quantization_config" not in config
    planned = plan(goldens_root / "deepseek_v3_fp8", "8bit")
    saved, back = load(tmp_path / "mlx"), dict(weights(tmp_path / "back", mx.float32))
    for output in planned.outputs:
        values = in_float32(output, saved) if output.setting else saved[output.name]
        exact = output.name.endswith("e_score_correction_bias")
        expected = values if exact else values.astype(mx.bfloat16)
        assert mx.array_equal(back[output.name], expected.astype(mx.float32)), output.name


def test_only_mlx_checkpoints_go_back(goldens_root, tmp_path):
    with pytest.raises(CheckpointError, match="not an MLX checkpoint"):
        export(goldens_root / "deepseek_v3", tmp_path / "back")
    convert(goldens_root / "deepseek_v3", tmp_path / "mlx", "bf16")


@pytest.mark.parametrize("case", ["deepseek_v3_fp8", "deepseek_v2_lite", "deepseek_llm_7b"])
def test_bf16_to_fewer_bits_is_what_the_release_gives(goldens_root, tmp_path, case):
    convert(goldens_root / case, tmp_path / "bf16", "bf16")
    convert(tmp_path / "bf16", tmp_path / "small", "4bit")
    convert(goldens_root / case, tmp_path / "direct", "4bit")
    for path in (tmp_path / "direct").glob("*.safetensors"):
        assert (tmp_path / "small" / path.name).read_bytes() == path.read_bytes()
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert config["quantization"] == config["quantization_config"]


def test_more_bits_to_fewer(goldens_root, tmp_path):
    """What has few enough bits already stays as it is; the rest comes from the stored values."""
    source = goldens_root / "deepseek_v3_fp8"
    convert(source, tmp_path / "six", "6bit")
    report = convert(tmp_path / "six", tmp_path / "four", "4bit")
    assert report.bytes_out < 0.96 * plan(source, "6bit").bytes_out
    assert report.exact_parameters > 0
    six, four = load(tmp_path / "six"), load(tmp_path / "four")
    kept = changed = 0
    six_plan, four_plan = plan(source, "6bit"), plan(tmp_path / "six", "4bit")
    sixes = {output.name: output for output in six_plan.outputs}
    for output in four_plan.outputs:
        if output.setting == sixes[output.name].setting:
            for name, _, _ in output.tensors():
                assert mx.array_equal(four[name], six[name])
            kept += 1
        else:
            values = in_float32(sixes[output.name], six)
            stored = output.store(values)
            for (name, _, _), value in zip(output.tensors(), stored, strict=True):
                assert mx.array_equal(four[name], value)
            changed += 1
    assert kept > 10
    assert changed >= 4


def test_no_gain_is_refused(goldens_root, tmp_path):
    convert(goldens_root / "deepseek_v3_fp8", tmp_path / "four", "4bit")
    for recipe in ("4bit", "8bit", "bf16"):
        with pytest.raises(CheckpointError, match="already an MLX checkpoint"):
            plan(tmp_path / "four", recipe)


def test_a_damaged_mlx_checkpoint(goldens_root, tmp_path):
    folder = tmp_path / "six"
    convert(goldens_root / "deepseek_llm_7b", folder, "6bit")
    config = json.loads((folder / "config.json").read_text())
    broken = tmp_path / "broken"
    for change in ({"bits": 5}, {"bits": 7}, {"group_size": 128}, {"mode": "mxfp8"}, {"bits": "6"}):
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(folder, broken)
        quantization = config["quantization"] | change
        (broken / "config.json").write_text(json.dumps({**config, "quantization": quantization}))
        with pytest.raises((CheckpointError, ConfigError), match="broken"):
            plan(broken, "4bit")
