"""Conversions that lose nothing: e4m3 in power-of-two blocks to mxfp8 and bfloat16."""

import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from mlx_deepseek.checkpoint.safetensors_header import TensorInfo, build_header, read_header
from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import convert, plan, weights
from mlx_deepseek_convert.mapping.ops import Copy, SplitHeads
from mlx_deepseek_convert.mapping.validate import MappingStep
from mlx_deepseek_convert.planning.lossless import move_codes
from mlx_deepseek_convert.source import fp8
from mlx_deepseek_convert.source.tensors import Tensor
from tests.convert.write.test_run import dequantized, load

MXFP8 = {"group_size": 32, "bits": 8, "mode": "mxfp8"}


def powers(shape: tuple[int, ...]) -> np.ndarray:
    """Float32 powers of two of very different size."""
    exponents = np.random.default_rng(3).integers(-40, 20, shape)
    return np.ldexp(np.float32(1), exponents).astype(np.float32)


def rewrite(case: Path, folder: Path, scales, **config) -> Path:
    """A copy of an FP8 checkpoint with codes of every size, other scales and another config."""
    folder.mkdir()
    infos, notes = read_header(case / "model.safetensors")
    data = (case / "model.safetensors").read_bytes()
    header, _ = build_header({name: i[2:4] for name, i in infos.items()}, notes)
    draw = np.random.default_rng(4)
    parts = []
    for name, info in infos.items():
        if name.endswith("_scale_inv"):
            parts.append(scales(info.shape).tobytes())
        elif info.dtype == "F8_E4M3":
            # Groups of small codes, too, down to subnormal ones.
            codes = draw.integers(0, 256, info.shape) & draw.choice([0x87, 0x9F, 0xFE], info.shape)
            parts.append(codes.astype(np.uint8).tobytes())
        else:
            parts.append(data[info.start : info.start + info.nbytes])
    (folder / "model.safetensors").write_bytes(header + b"".join(parts))
    settings = json.loads((case / "config.json").read_text())
    settings["quantization_config"] |= config
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def v31(goldens_root, tmp_path) -> Path:
    """DeepSeek-V3.1's format: float32 scales that are powers of two, as its config says."""
    return rewrite(goldens_root / "deepseek_v3_fp8", tmp_path / "v31", powers, scale_fmt="ue8m0")


@pytest.mark.parametrize("recipe", ["mxfp8", "bf16"])
def test_power_of_two_scales_lose_nothing(v31, tmp_path, recipe):
    """Every dequantized value of the result equals the source's."""
    planned = plan(v31, recipe)
    convert(v31, tmp_path / "out", recipe)
    saved = load(tmp_path / "out")
    originals = dict(weights(v31, mx.float32))
    compared = 0
    for job in (job for jobs in planned.files.values() for job in jobs):
        if job.step.sources[0].scale is None:
            continue
        assert job.exact == (recipe == "mxfp8" and job.outputs[0].setting is not None)
        for output in job.outputs:
            quantized = output.setting is not None
            values = dequantized(output, saved) if quantized else saved[output.name]
            np.testing.assert_array_equal(
                np.array(values.astype(mx.float32)), np.array(originals[output.name])
            )
            compared += values.size
    assert compared > 0.8 * planned.parameters


def test_plan_and_record_count_what_is_exact(v31, goldens_root, tmp_path):
    planned = plan(v31, "mxfp8")
    assert planned.exact_parameters > 0.5 * planned.parameters
    assert planned.summary()["exact_parameters"] == planned.exact_parameters
    assert plan(v31, "4bit").exact_parameters == 0
    assert plan(goldens_root / "deepseek_v3_fp8", "mxfp8").exact_parameters == 0
    convert(v31, tmp_path / "out", "mxfp8")
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert record["exact"] == planned.exact_parameters


def test_scales_that_are_not_what_the_config_says(goldens_root, tmp_path):
    source = rewrite(
        goldens_root / "deepseek_v3_fp8",
        tmp_path / "wrong",
        lambda shape: np.full(shape, 0.3, np.float32),
        scale_fmt="ue8m0",
    )
    with pytest.raises(CheckpointError, match=r"_scale_inv' has scales that are no powers of two"):
        convert(source, tmp_path / "out", "mxfp8")
    assert [path.name for path in tmp_path.iterdir()] == ["wrong"]


@pytest.mark.parametrize("op", [Copy(), SplitHeads(128, 128), SplitHeads(64, 64)])
@pytest.mark.parametrize("dtype", ["F32", "F8_E8M0"])
def test_every_code_and_every_scale(op, dtype):
    """All 254 finite codes under scales from 2^-126 to 2^127; also transposed, per head."""
    codes = (np.arange(512 * 256) * 37 % 256).astype(np.uint8).reshape(512, 256)
    codes[codes & 127 == 127] = 0
    exponents = np.array([[1, 90], [127, 135], [200, 230], [120, 240]], np.uint8)
    info = TensorInfo("w", Path("f"), "F8_E4M3", (512, 256), 0, codes.nbytes)
    scale = TensorInfo("w_scale_inv", Path("f"), dtype, (4, 2), 0, 8)
    tensor = Tensor(info, scale, (128, 128))
    raw = exponents.ravel() if dtype == "F8_E8M0" else exponents.ravel().astype(np.uint32) << 23
    stored = move_codes(MappingStep(op, (tensor,), ()), tensor, [codes.ravel(), raw])
    values = fp8.dequantize(mx.array(codes), fp8.decode_ue8m0(mx.array(exponents)), (128, 128))
    for expected, packed, scales in zip(op.apply([values]), stored[::2], stored[1::2], strict=True):
        got = mx.dequantize(packed, scales, **MXFP8, dtype=mx.float32)
        np.testing.assert_array_equal(np.array(got), np.array(expected))
