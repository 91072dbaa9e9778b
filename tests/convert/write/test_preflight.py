"""What a conversion takes is predicted, and refused where it is not there."""

import os
import shutil
from dataclasses import replace

import pytest

from mlx_deepseek.errors import CheckpointError, DeepSeekError, MemoryLimitError
from mlx_deepseek.runtime import memory
from mlx_deepseek_convert import convert, plan
from mlx_deepseek_convert.planning.chunks import lay_out
from mlx_deepseek_convert.planning.plan import make_plan
from mlx_deepseek_convert.source.checkpoint import Remote
from mlx_deepseek_convert.write.preflight import check_space, peak_bytes, predicted
from tests.convert.released import released_source
from tests.convert.test_catalog import ENTRIES

CASE = "deepseek_v3_fp8"


def test_too_little_memory(goldens_root, tmp_path, monkeypatch):
    needed = peak_bytes(lay_out(plan(goldens_root / CASE)))
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: needed - 1)
    with pytest.raises(MemoryLimitError, match="of memory"):
        convert(goldens_root / CASE, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: needed)
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


def test_targets_that_are_links(goldens_root, tmp_path):
    """Resolved before anything is written: the result is where the link points to."""
    source = goldens_root / "deepseek_llm_7b"
    (tmp_path / "disk").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "disk" / "new")
    report = convert(source, tmp_path / "dangling", "bf16")
    assert report.target == tmp_path / "disk" / "new"
    assert (tmp_path / "dangling").is_symlink()
    assert (tmp_path / "dangling" / "config.json").is_file()
    (tmp_path / "there").symlink_to(tmp_path / "disk" / "new")
    with pytest.raises(CheckpointError, match="exists already"):
        convert(source, tmp_path / "there", "bf16")
    assert convert(source, tmp_path / "there", "8bit", overwrite=True).target == report.target
    assert (tmp_path / "there").is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["new"]


def test_the_disk_behind_a_link_is_asked_for_room(goldens_root, tmp_path, monkeypatch):
    asked, usage = [], shutil.disk_usage(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "new")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage)
    convert(goldens_root / "deepseek_llm_7b", tmp_path / "link", "bf16")
    assert asked == [tmp_path / "disk"]


@pytest.mark.parametrize("kind", ["circle", "file", "pipe", "below a file", "link to a file"])
def test_targets_that_cannot_be_folders(goldens_root, tmp_path, kind):
    target = tmp_path / "target"
    (tmp_path / "file").write_text("mine")
    if kind == "circle":
        target.symlink_to(target)
    elif kind == "file":
        target.write_text("mine")
    elif kind == "pipe":
        os.mkfifo(target)
    elif kind == "below a file":
        target = tmp_path / "file" / "target"
    else:
        target.symlink_to(tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"is a file|no folder|leads nowhere"):
        convert(goldens_root / "deepseek_llm_7b", target, "bf16")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "config.json", "model.safetensors.index.json", "pytorch_model.bin"],
)
def test_named_pipes_are_not_waited_for(goldens_root, tmp_path, name):
    source = shutil.copytree(goldens_root / "deepseek_llm_7b", tmp_path / "source")
    if name == "pytorch_model.bin":
        for path in source.glob("*.safetensors"):
            path.unlink()
    (source / name).unlink(missing_ok=True)
    os.mkfifo(source / name)
    with pytest.raises(DeepSeekError, match=rf"{name}: is no regular file"):
        convert(source, tmp_path / "out", "bf16")
