"""Conversions on the way to loading: made once, again when the source changes, whole or not."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from mlx_deepseek import load
from mlx_deepseek.checkpoint import conversion_cache
from mlx_deepseek.checkpoint.conversion_cache import cache_folder, convert_once
from mlx_deepseek.errors import CheckpointError, DeepSeekError


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(goldens_root, tmp_path) -> Path:
    return shutil.copytree(goldens_root / "deepseek_v2_lite", tmp_path / "source")


def test_made_once(cache, source):
    calls = []
    first = convert_once(source, "4bit", lambda *state: calls.append(state))
    assert first.parent == cache
    assert calls[-1][0] == "convert"
    assert calls[-1][1] == calls[-1][2] > 0
    calls.clear()
    assert convert_once(source, "4bit", lambda *state: calls.append(state)) == first
    assert calls == []
    assert convert_once(source, "8bit") != first


def test_made_again_when_the_source_changes(cache, source):
    first = convert_once(source, "bf16")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "use_cache": False}))
    second = convert_once(source, "bf16")
    assert second != first
    weights = next(source.glob("*.safetensors"))
    os.utime(weights, ns=(0, 0))
    assert convert_once(source, "bf16") not in (first, second)


def test_made_again_by_another_version(cache, source, monkeypatch):
    first = convert_once(source, "bf16")
    monkeypatch.setattr(conversion_cache, "converter_version", lambda: "99")
    assert convert_once(source, "bf16") != first


def test_a_failure_leaves_nothing_to_be_found(cache, source):
    weights = max(source.glob("*.safetensors"), key=lambda path: path.stat().st_size)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-10])
    with pytest.raises(CheckpointError):
        convert_once(source, "bf16")
    assert not list(cache.glob("*/config.json"))
    weights.write_bytes(whole)
    assert (convert_once(source, "bf16") / "config.json").is_file()


def test_two_at_once_make_one(cache, source):
    results, calls = [], []

    def work() -> None:
        results.append(convert_once(source, "4bit", lambda *state: calls.append(state)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 3
    assert len(set(results)) == 1
    assert sum(done == total for _, done, total in calls) == 1


def test_load_reports_conversion_then_loading(cache, source):
    stages = []
    engine = load(source, recipe="4bit", progress=lambda stage, *_: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["convert", "load"]
    assert engine.folder.parent == cache
    assert engine.name == "source"
    assert load(engine.folder).folder == engine.folder


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "file"))
    with pytest.raises(DeepSeekError, match="cannot be written"):
        cache_folder()


def test_without_a_writable_home_the_temporary_folder_serves(tmp_path, monkeypatch):
    monkeypatch.delenv("MLX_DEEPSEEK_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(conversion_cache.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    folder = cache_folder()
    assert folder.parent == tmp_path / "tmp"
    assert folder.stat().st_mode & 0o077 == 0
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(DeepSeekError, match="someone else"):
        cache_folder()
