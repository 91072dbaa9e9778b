"""Real processes: killed while they write, and several in one folder."""

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_deepseek.cache.blocks import BLOCK
from mlx_deepseek.cache.prefix_cache import PrefixCache
from tests.cache.layers import fresh, made, prompt, same

ROOT = Path(__file__).parents[2]


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.cache.worker", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def strict() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def usable(folder: Path) -> int:
    """Blocks of the killed writer, each of which must be right."""
    blocks = 0
    cache = PrefixCache("k", memory_bytes=0, folder=folder)
    for seed in range(1000):
        ids, layers = prompt(seed, 2 * BLOCK), fresh("latent")
        tokens = cache.restore(ids, layers)
        assert not tokens or same(layers, made(ids[:tokens]))
        blocks += tokens // BLOCK
    return blocks


def finished(folder: Path) -> list[Path]:
    return list(folder.rglob("*.safetensors"))


def test_killed_before_a_file_has_its_name(tmp_path, strict):
    with start("write", tmp_path, 8) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert usable(tmp_path) == len(finished(tmp_path)) == 7
    (unfinished,) = tmp_path.rglob("*.tmp")
    os.utime(unfinished, (0, 0))
    ids = prompt(3, 2 * BLOCK)
    assert PrefixCache("k", memory_bytes=0, folder=tmp_path).store(ids, made(ids)) == 1
    assert not unfinished.exists()


def test_killed_at_any_moment(tmp_path, strict):
    with start("write", tmp_path, 0) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 20:
            pass
        os.kill(process.pid, signal.SIGKILL)
    assert usable(tmp_path) == len(finished(tmp_path)) >= 40
    assert len(list(tmp_path.rglob("*.tmp"))) <= 1


def test_two_at_once_in_a_small_folder(tmp_path, strict):
    ids = prompt(99, BLOCK)
    cache = PrefixCache("k", memory_bytes=0, folder=tmp_path)
    cache.store(ids, made(ids))
    limit = 6 * cache.folder_nbytes
    processes = [start("contend", tmp_path, seed, limit, 2) for seed in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert int(output) > 0
    assert cache.folder_nbytes <= limit + 4 * limit // 6  # what one stored while the other did
    cache = PrefixCache("k", memory_bytes=0, folder=tmp_path, folder_bytes=limit)
    more = prompt(98, BLOCK)
    cache.store(more, made(more))
    assert cache.folder_nbytes <= limit
