"""Downloads from a hub on this machine."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from mlx_deepseek.checkpoint import hub
from mlx_deepseek.checkpoint.hub_errors import SPARE_BYTES, NotFoundError
from mlx_deepseek.errors import CheckpointError
from tests.hub_server import COMMIT, served

REPO = "deepseek-ai/DeepSeek-Tiny"
WEIGHTS = bytes(range(256)) * 4000
CONFIG = {"model_type": "deepseek_v3", "vocab_size": 256}
FILES = {
    "config.json": json.dumps(CONFIG).encode(),
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{ }",
    "LICENSE-MODEL": b"text",
    "model.safetensors.index.json": b"{  }",
    "model-00001-of-00002.safetensors": WEIGHTS,
    "model-00002-of-00002.safetensors": WEIGHTS[::-1],
}
UNWANTED = {
    "pytorch_model.bin": b"pickle",
    "model.gguf": b"other",
    "modeling_deepseek.py": b"raise SystemExit",
    "README.md": b"card",
    "tokenizer_setup.py": b"raise SystemExit",
}


@pytest.fixture
def server(tmp_path, monkeypatch):
    with served({REPO: FILES | UNWANTED}, tmp_path, monkeypatch) as fake:
        yield fake


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_is_returned_as_it_is(server, tmp_path):
    assert hub.fetch(tmp_path) == tmp_path
    assert hub.fetch(str(tmp_path)) == tmp_path
    assert server.log == []


def test_only_what_a_model_needs_is_downloaded(server):
    reports: list[tuple[str, int, int]] = []
    folder = hub.fetch(REPO, progress=lambda *report: reports.append(report))
    assert content(folder) == FILES
    assert sorted(server.fetched()) == sorted(FILES)
    total = sum(map(len, FILES.values()))
    assert {(stage, whole) for stage, _, whole in reports} == {("download", total)}
    done = [report[1] for report in reports]
    assert done == sorted(done)
    assert 0 < done[0] < done[-1] == total


def test_progress_bars_of_the_hub_stay_silent(server, capfd):
    hub.fetch(REPO)
    assert capfd.readouterr() == ("", "")


def test_a_cached_checkpoint_needs_no_server(server):
    folder = hub.fetch(REPO)
    server.stop()
    reports = []
    assert hub.fetch(REPO, progress=lambda *report: reports.append(report)) == folder
    assert hub.fetch_config(REPO) == CONFIG
    assert reports == []


def test_offline_mode_takes_the_cache(server, monkeypatch):
    folder = hub.fetch(REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    server.log.clear()
    assert hub.fetch(REPO) == folder
    with pytest.raises(CheckpointError, match=r"cannot be reached.*HF_HUB_OFFLINE"):
        hub.fetch("deepseek-ai/another")
    assert server.log == []


def test_no_server_and_nothing_cached(server):
    server.stop()
    with pytest.raises(CheckpointError, match=f"{REPO}: not whole in the cache.*cannot be reached"):
        hub.fetch(REPO)
    with pytest.raises(CheckpointError, match="cannot be reached"):
        hub.fetch_config(REPO)


def test_config_alone_in_the_cache_is_no_checkpoint(server):
    assert hub.fetch_config(REPO) == CONFIG
    assert server.fetched() == ["config.json"]
    server.stop()
    with pytest.raises(CheckpointError, match="not whole in the cache"):
        hub.fetch(REPO)


def test_a_broken_connection_goes_on_where_it_broke(server, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # what is kept at least
    name = "model-00001-of-00002.safetensors"
    server.cut[name] = [300_000, 200_000]
    assert content(hub.fetch(REPO)) == FILES
    ranges = [
        asked for method, path, asked in server.log if method == "GET" and path.endswith(name)
    ]
    assert ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_half_a_checkpoint_is_not_taken_for_a_whole_one(server):
    server.cut["model-00002-of-00002.safetensors"] = [0] * 20
    with pytest.raises(CheckpointError, match=REPO):
        hub.fetch(REPO)
    server.stop()
    with pytest.raises(CheckpointError, match="not whole in the cache"):
        hub.fetch(REPO)


def test_a_second_try_downloads_only_the_rest(server):
    name = "model-00002-of-00002.safetensors"
    server.cut[name] = [0] * 20
    with pytest.raises(CheckpointError, match=REPO):
        hub.fetch(REPO)
    finished = {path.name for path in Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/*")}
    assert name not in finished
    assert finished
    server.cut.clear()
    server.log.clear()
    reports = []
    folder = hub.fetch(REPO, progress=lambda *report: reports.append(report[1]))
    assert content(folder) == FILES
    assert sorted(server.fetched()) == sorted(FILES.keys() - finished)
    assert reports[0] > sum(len(FILES[name]) for name in finished)


def test_not_found(server):
    with pytest.raises(NotFoundError, match="deepseek-ai/none: the hub has no such model"):
        hub.fetch("deepseek-ai/none")
    with pytest.raises(NotFoundError, match="no such model"):
        hub.fetch_config("deepseek-ai/none")
    with pytest.raises(NotFoundError, match="revision v9: no such revision"):
        hub.fetch(REPO, revision="v9")
    assert content(hub.fetch(REPO, revision=COMMIT)) == FILES


def test_gated(server):
    server.gated.add(REPO)
    with pytest.raises(CheckpointError, match="accept its terms"):
        hub.fetch(REPO)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("consolidated.00.pth", "only pickled weights"),
        ("model.gguf", "only GGUF"),
        ("README.md", "no weights"),
    ],
)
def test_repositories_without_safetensors(server, name, reason):
    server.repos[REPO] = {"config.json": FILES["config.json"], name: b"x"}
    with pytest.raises(CheckpointError, match=reason):
        hub.fetch(REPO)
    assert server.fetched() == []


def test_a_full_disk_is_noticed_before_the_download(server, monkeypatch):
    needed = sum(map(len, FILES.values())) + SPARE_BYTES
    disk = shutil.disk_usage("/")._replace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    with pytest.raises(CheckpointError, match=r"MB are to be downloaded.*are free"):
        hub.fetch(REPO)
    assert server.fetched() == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk._replace(free=needed))
    assert content(hub.fetch(REPO)) == FILES


@pytest.mark.parametrize("source", ["nothing", "a/b/c", "../up", "/no/such/folder", "a b/c", ""])
def test_what_is_neither_folder_nor_id_is_not_looked_up(server, source):
    with pytest.raises(CheckpointError) if source else pytest.raises((CheckpointError, OSError)):
        assert hub.fetch(source) == Path()
        raise OSError("the empty path is the working folder")
    assert server.log == []


def test_config_of_a_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    assert hub.fetch_config(tmp_path) == CONFIG
