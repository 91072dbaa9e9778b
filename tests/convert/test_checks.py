"""What a conversion takes is predicted, and refused where it is not there."""

import shutil
from dataclasses import replace

import pytest

from mlx_deepseek.errors import CheckpointError, MemoryLimitError
from mlx_deepseek_convert import checks, convert, plan
from mlx_deepseek_convert.checks import check_space, peak_bytes, predicted
from mlx_deepseek_convert.pieces import lay_out
from mlx_deepseek_convert.planner import make_plan
from mlx_deepseek_convert.source import Remote
from tests.convert.released import released_source
from tests.convert.test_catalog import ENTRIES

CASE = "deepseek_v3_fp8"


def test_too_little_memory(goldens_root, tmp_path, monkeypatch):
    needed = peak_bytes(lay_out(plan(goldens_root / CASE)))
    monkeypatch.setattr(checks, "machine_memory_bytes", lambda: needed - 1)
    with pytest.raises(MemoryLimitError, match="of memory"):
        convert(goldens_root / CASE, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(checks, "machine_memory_bytes", lambda: needed)
    convert(goldens_root / CASE, tmp_path / "out")


def test_the_largest_model_takes_less_than_two_gigabytes():
    """671 B parameters; one stacked tensor of experts alone has 7.5 GB."""
    source = released_source(dict(ENTRIES["DeepSeek-V3"].config))
    for recipe in ("bf16", "4bit", "mxfp8"):
        assert predicted(make_plan(source, recipe))["peak_bytes"] < 2e9


def test_disk_for_the_result_and_a_few_shards(goldens_root, tmp_path, monkeypatch):
    planned = plan(goldens_root / CASE)
    sizes = {f"{number}.safetensors": 1000 + number for number in range(9)}
    remote = replace(planned.source, remote=Remote("a/b", "main", sizes, {}))
    hub = replace(planned, source=remote)
    assert predicted(planned)["disk_bytes"] == planned.bytes_out
    assert predicted(hub)["disk_bytes"] == planned.bytes_out + 1008 + 1007 + 1006
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=planned.bytes_out))
    check_space(planned, tmp_path / "out")
    with pytest.raises(CheckpointError, match="free, the conversion"):
        check_space(hub, tmp_path / "out")


def test_what_is_written_already_needs_no_room(goldens_root, tmp_path, monkeypatch):
    planned = plan(goldens_root / CASE)
    result = tmp_path / "out.partial" / "result"
    result.mkdir(parents=True)
    (result / "model.safetensors").write_bytes(b"x" * 500_000)
    usage = shutil.disk_usage(tmp_path)
    free = planned.bytes_out - 400_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    check_space(planned, tmp_path / "out")
