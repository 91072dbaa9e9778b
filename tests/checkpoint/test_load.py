"""Models of the hub on the way to memory: converted shard by shard, or downloaded as they are."""

import json
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlx.core as mx
import pytest
from huggingface_hub import constants

from mlx_deepseek import load
from mlx_deepseek.checkpoint import hub
from mlx_deepseek.checkpoint import load as loading
from mlx_deepseek.checkpoint.local_models import models_here
from mlx_deepseek.errors import CheckpointError, DeepSeekError
from mlx_deepseek_convert import convert
from tests.checkpoint.test_torch_pickle import Evil, archive, as_torch
from tests.hub_server import COMMIT, FakeHub, served

REPO = "deepseek-ai/DeepSeek-Tiny"
PUBLISHED = "mlx-community/DeepSeek-Tiny-4bit"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def server(goldens_root, tmp_path, monkeypatch):
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path / "cache"))
    convert(goldens_root / "deepseek_v2_lite", tmp_path / "published", "4bit")
    repos = {
        REPO: content(goldens_root / "deepseek_v2_lite"),
        PUBLISHED: content(tmp_path / "published"),
    }
    del repos[REPO]["golden.safetensors"]
    with served(repos, tmp_path, monkeypatch) as fake:
        yield fake


def weights_in_the_hubs_cache() -> list[Path]:
    return list(Path(constants.HF_HUB_CACHE).rglob("*.safetensors"))


def downloads(server: FakeHub) -> int:
    """How often weights were asked for whole."""
    return sum(
        method == "GET" and path.endswith(".safetensors") and not asked
        for method, path, asked in server.log
    )


def test_a_release_is_converted_and_never_whole_on_the_disk(server, goldens_root, tmp_path):
    reports = []
    engine = load(REPO, progress=lambda *report: reports.append(report))
    assert engine.name == REPO
    assert engine.folder.parent == tmp_path / "cache"
    assert weights_in_the_hubs_cache() == []
    assert downloads(server) == 1
    convert(goldens_root / "deepseek_v2_lite", tmp_path / "local", "4bit")
    assert (
        content(engine.folder)["model.safetensors"]
        == (tmp_path / "local" / "model.safetensors").read_bytes()
    )
    assert [stage for stage, _, _ in reports][-1] == "load"
    converting = [report[1:] for report in reports if report[0] == "convert"]
    assert converting[0] == (0, converting[-1][1])
    assert converting[-1][0] == converting[-1][1] > 0
    assert models_here() == [REPO]


def test_listing_and_headers_are_read_once(server):
    """From the hub's name to weights in memory, the default recipe."""
    load(REPO)
    asked = [(path, span) for method, path, span in server.log if method == "GET"]
    assert sum(path == f"/api/models/{REPO}" for path, _ in asked) == 1
    assert not any("/tree/" in path or "/revision/" in path for path, _ in asked)
    headers = [path for path, span in asked if path.endswith(".safetensors") and span]
    shards = [name for name in server.repos[REPO] if name.endswith(".safetensors")]
    assert sorted(path.rpartition("/")[2] for path in headers) == sorted(shards)
    whole = [path for path, span in asked if "/resolve/" in path and not span]
    assert len(whole) == len(set(whole))


def test_the_second_time_nothing_is_downloaded(server, tmp_path):
    folder = load(REPO).folder
    server.log.clear()
    assert load(REPO).folder == load(REPO, recipe="4bit").folder == folder
    assert server.fetched() == []
    server.repos[REPO]["README.md"] = b"another card"
    assert load(REPO).folder == folder
    server.stop()
    assert load(REPO).folder == folder
    with pytest.raises(CheckpointError, match="cannot be reached"):
        load(REPO, recipe="8bit")
    with pytest.raises(CheckpointError, match="cannot be reached"):
        load(REPO, revision=COMMIT)


def test_other_files_are_another_conversion(server):
    folder = load(REPO).folder
    config = json.loads(server.repos[REPO]["config.json"])
    server.repos[REPO]["config.json"] = json.dumps({**config, "use_cache": False}).encode()
    # A commit never changes on the hub; this one's files are in its cache.
    for path in Path(constants.HF_HUB_CACHE).rglob("config.json"):
        path.unlink()
    assert load(REPO).folder != folder


def test_an_mlx_checkpoint_is_downloaded_as_it_is(server):
    engine = load(PUBLISHED)
    assert engine.folder.is_relative_to(constants.HF_HUB_CACHE)
    assert models_here() == [PUBLISHED]
    server.log.clear()
    with pytest.raises(CheckpointError, match="quantized already"):
        load(PUBLISHED, recipe="4bit")
    assert downloads(server) == 0


def test_what_is_to_be_loaded_exactly_is_downloaded(server):
    engine = load(REPO, dtype="float32")
    assert weights_in_the_hubs_cache()
    assert engine.folder.is_relative_to(constants.HF_HUB_CACHE)


def test_what_was_downloaded_is_not_downloaded_again(server):
    load(REPO, dtype="float32")
    server.log.clear()
    folder = load(REPO).folder
    assert downloads(server) == 0
    server.stop()
    assert load(REPO).folder == folder


def test_a_name_the_hub_does_not_know(server):
    with pytest.raises(DeepSeekError, match=r"no such model.*Did you mean"):
        load("deepseek-ai/DeepSeek-V2-Lit")


def test_an_engine_goes_on_computing_while_another_is_prepared(monkeypatch):
    engine = load("nano", recipe="bf16")
    reached, go_on = threading.Event(), threading.Event()
    find = loading.resolve

    def slow(*args, **options):
        reached.set()
        assert go_on.wait(60)
        return find(*args, **options)

    monkeypatch.setattr(loading, "resolve", slow)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(load, "nano", recipe="bf16")
        assert reached.wait(60)
        assert engine.generate("What is 1 + 1?", max_tokens=4).usage.completion_tokens
        assert not other.done()
        go_on.set()
        assert other.result(60).name == "nano"


@pytest.fixture
def pickled(server, goldens_root, tmp_path) -> FakeHub:
    """The release with PyTorch's files instead of safetensors."""
    (tmp_path / "bin").mkdir()
    as_torch(goldens_root / "deepseek_v2_lite", tmp_path / "bin")
    server.repos[REPO] = content(tmp_path / "bin")
    return server


@pytest.mark.parametrize("dtype", [None, "float32"])
def test_a_release_of_bin_files(pickled, goldens_root, dtype):
    ids = [5, 7, 9, 11]
    engine = load(REPO, dtype=dtype)
    assert mx.array_equal(
        engine.logits(ids), load(goldens_root / "deepseek_v2_lite", dtype=dtype).logits(ids)
    )
    folder = engine.folder
    assert load(REPO, dtype=dtype).folder == folder
    pickled.stop()
    assert load(REPO, dtype=dtype).folder == folder


def test_safetensors_of_the_hubs_own_pull_request_are_taken(pickled, goldens_root):
    files = content(goldens_root / "deepseek_v2_lite")
    del files["golden.safetensors"]
    strangers = {**files, "model.safetensors": files["model.safetensors"][:-8] + b"\7" * 8}
    pickled.requests[REPO] = [("someone", strangers), ("SFconvertbot", pickled.repos[REPO] | files)]
    found = hub.listing(REPO)
    assert (found.branch, found.commit, found.is_pickled) == ("refs/pr/2", "2" * 40, False)
    ids = [5, 7, 9, 11]
    ours = load(REPO).logits(ids)
    assert mx.array_equal(ours, load(goldens_root / "deepseek_v2_lite").logits(ids))
    assert not [name for name in pickled.fetched() if name.endswith(".bin")]
    # What is asked for by its revision is that revision.
    assert hub.listing(REPO, "main").is_pickled


@pytest.mark.parametrize("author", ["someone", "SFconvertbot2"])
def test_other_peoples_pull_requests_are_not(pickled, goldens_root, author):
    pickled.requests[REPO] = [(author, content(goldens_root / "deepseek_v2_lite"))]
    assert hub.listing(REPO).is_pickled


def test_a_hostile_bin_file_of_the_hub(pickled, tmp_path):
    name = "pytorch_model-00002-of-00002.bin"
    archive(tmp_path / "evil.bin", pickle.dumps({"a": Evil(os.system, "touch /tmp/owned")}, 2), {})
    pickled.repos[REPO][name] = (tmp_path / "evil.bin").read_bytes()
    with pytest.raises(CheckpointError, match=r"it calls \w+\.system, which makes no tensor"):
        load(REPO)
    assert not Path("/tmp/owned").exists()
