"""`info` and `bench` of every architecture, as released and as converted."""

import pytest

from mlx_deepseek import catalog, models
from mlx_deepseek.commands import bench, info
from mlx_deepseek.models import sizes
from mlx_deepseek.runtime import speed
from mlx_deepseek_convert import convert

CASES = {
    "deepseek_moe_16b": "4bit",
    "deepseek_ocr": "8bit",
    "deepseek_v2": "3bit",
    "deepseek_v3": "mxfp8",
    "deepseek_v32_fp8": "mxfp4",
    "deepseek_vl2": "6bit",
    "deepseek_vl_1p3b": "8bit",
    "r1_0528_qwen3": "4bit",
    "r1_distill_llama": "8bit",
    "r1_distill_qwen": "bf16",
}


@pytest.mark.parametrize(("case", "recipe"), CASES.items())
def test_info_and_bench(goldens_root, tmp_path, monkeypatch, case, recipe):
    monkeypatch.setattr(speed, "COPY_BYTES_CPU", 1 << 22)
    monkeypatch.setattr(speed, "COPY_BYTES_GPU", 1 << 22)
    released = info.describe(str(goldens_root / case))
    convert(goldens_root / case, tmp_path / case, recipe)
    converted = info.describe(str(tmp_path / case))
    for key in ("parameters", "active_parameters", "context_length", "cache_bytes_per_token"):
        assert converted[key] == released[key], key
    assert converted["active_parameters"] < converted["parameters"]
    assert info.rows(converted)
    result = bench.measure(str(tmp_path / case), prompt=6, tokens=3, repeats=1)
    assert result.generated_tokens == 3
    assert result.read_bytes_per_token > 0


@pytest.mark.parametrize(
    "name", ["DeepSeek-V2-Lite", "DeepSeek-V2", "DeepSeek-V3", "deepseek-vl2-tiny", "deepseek-vl2"]
)
def test_active_parameters_are_those_that_the_authors_publish(name):
    entry = catalog.find(name)
    assert entry is not None
    counted = sizes.count(models.build(entry.config)).active
    assert counted == pytest.approx(entry.params_active, rel=0.03)
