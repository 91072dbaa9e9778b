"""Conversions from a hub on this machine, which never hold the whole source."""

import json
import os
import random
import shutil
import signal
import threading
from pathlib import Path

import pytest
from huggingface_hub import constants

from mlx_deepseek.checkpoint import hub
from mlx_deepseek.checkpoint.safetensors_header import build_header, read_header
from mlx_deepseek.errors import CheckpointError, DeepSeekError
from mlx_deepseek_convert import convert, plan
from mlx_deepseek_convert.write import source_files, writer
from mlx_deepseek_convert.write.disk import InterruptedConversionError
from mlx_deepseek_convert.write.run import execute
from mlx_deepseek_convert.write.source_files import SHARDS_AHEAD
from tests.convert.write.test_resume import content, run_killed
from tests.hub_server import FakeHub, served

REPO = "deepseek-ai/DeepSeek-Tiny"
SHARDS = 6


@pytest.fixture
def source(goldens_root, tmp_path) -> Path:
    """A checkpoint in six shards, cut without regard to layers; one cut parts weight and scale."""
    folder, case = tmp_path / "source", goldens_root / "deepseek_v3_fp8"
    folder.mkdir()
    infos, _ = read_header(case / "model.safetensors")
    names = sorted(infos)
    index = {}
    for shard in range(SHARDS):
        file = f"model-{shard + 1:05d}-of-{SHARDS:06d}.safetensors"
        part = names[shard * len(names) // SHARDS : (shard + 1) * len(names) // SHARDS]
        save(case, folder / file, part)
        index |= dict.fromkeys(part, file)
    pairs = [(name, f"{name}_scale_inv") for name in names if f"{name}_scale_inv" in index]
    assert any(index[weight] != index[scale] for weight, scale in pairs)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    shutil.copyfile(case / "config.json", folder / "config.json")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def save(case: Path, path: Path, names: list[str]) -> None:
    """The named tensors of a case, bytes as they are (MLX has no dtype for e4m3)."""
    infos, _ = read_header(case / "model.safetensors")
    data = (case / "model.safetensors").read_bytes()
    header, _ = build_header({n: (infos[n].dtype, infos[n].shape) for n in names}, {"format": "pt"})
    parts = [data[infos[n].start : infos[n].start + infos[n].nbytes] for n in names]
    path.write_bytes(header + b"".join(parts))


@pytest.fixture
def server(source, tmp_path, monkeypatch):
    monkeypatch.setattr(source_files, "RETRY_AFTER_S", (0,))
    monkeypatch.setattr(writer, "COMMIT_BYTES", 10_000)
    with served({REPO: content(source)}, tmp_path, monkeypatch) as fake:
        yield fake


@pytest.fixture
def whole(source, tmp_path) -> dict[str, bytes]:
    """What converting the same files from a folder gives, but for the name of the source."""
    convert(source, tmp_path / "whole")
    return weights(tmp_path / "whole")


def weights(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in content(folder).items() if name.endswith(".safetensors")}


def shards_fetched(server: FakeHub) -> list[str]:
    """Shards that were asked for whole, or from some byte to the end."""
    return [
        path.rpartition("/")[2]
        for method, path, asked in server.log
        if method == "GET" and path.endswith(".safetensors") and (not asked or asked[-1] == "-")
    ]


def test_planning_reads_headers_only(server, source):
    planned = plan(REPO, "4bit")
    assert planned.summary() | {"source": ""} == plan(source, "4bit").summary() | {"source": ""}
    assert shards_fetched(server) == []


def test_shards_come_and_go(server, tmp_path, whole, monkeypatch):
    """Each shard is downloaded once, and few are on the disk at a time."""
    most, original = [0], source_files.HubFiles._obtain

    def watched(self, name):
        path = original(self, name)
        most[0] = max(most[0], len(list(path.parent.glob("*.safetensors"))))
        return path

    monkeypatch.setattr(source_files.HubFiles, "_obtain", watched)
    report = convert(REPO, tmp_path / "out")
    assert weights(tmp_path / "out") == whole
    assert sorted(shards_fetched(server)) == sorted(set(shards_fetched(server)))
    assert len(shards_fetched(server)) == SHARDS
    assert most[0] <= SHARDS_AHEAD + 2
    assert report.bytes_in == plan(tmp_path / "source").bytes_in
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert record["source"] == REPO
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    assert not list(Path(constants.HF_HUB_CACHE).rglob("*.safetensors"))
    assert not (tmp_path / "out.partial").exists()


def test_lost_network_and_a_second_run(server, tmp_path, whole):
    lost = f"model-00004-of-{SHARDS:06d}.safetensors"
    planned = plan(REPO)
    server.cut[lost] = [0] * 50
    with pytest.raises(InterruptedConversionError, match=r"goes on where it stopped"):
        execute(planned, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    server.cut.clear()
    server.log.clear()
    assert convert(REPO, tmp_path / "out").bytes_resumed > 0
    assert weights(tmp_path / "out") == whole
    assert len(shards_fetched(server)) < SHARDS


def test_a_broken_download_goes_on(server, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)  # what is kept at least
    name = f"model-00002-of-{SHARDS:06d}.safetensors"
    planned = plan(REPO)  # reads the header, before the connection gets bad
    server.cut[name] = [30_000, 20_000]
    execute(planned, tmp_path / "out")
    assert weights(tmp_path / "out") == whole
    ranges = [asked for method, path, asked in server.log if method == "GET" and name in path]
    assert ranges[1:] == [None, "bytes=30000-", "bytes=50000-"]


def test_a_damaged_download_is_not_converted(server, tmp_path, monkeypatch):
    monkeypatch.setattr(source_files, "verified", lambda path, size, checksum: False)
    with pytest.raises(CheckpointError, match="another checksum than the hub says"):
        convert(REPO, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_commit_with_the_same_weights_goes_on(server, tmp_path, whole, monkeypatch):
    before = plan(REPO).source
    monkeypatch.setattr("tests.hub_server.COMMIT", "f" * 40)
    after = plan(REPO).source
    assert before.remote.commit != after.remote.commit
    assert before.identity == after.identity
    server.repos[REPO][f"model-00001-of-{SHARDS:06d}.safetensors"] += b" "
    assert plan(REPO).source.identity != before.identity


def test_kill_after_kill(server, tmp_path, whole):
    """Each run is killed in the midst of some call to the system, downloads included."""
    environment = {
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HUB_CACHE": constants.HF_HUB_CACHE,
        "HF_HUB_DISABLE_XET": "1",
    }
    draw = random.Random(4)
    for _ in range(3):
        killed = run_killed(REPO, tmp_path / "out", draw.randint(1, 90), **environment)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not (tmp_path / "out").exists()
    assert convert(REPO, tmp_path / "out").bytes_resumed > 0
    assert weights(tmp_path / "out") == whole
    assert not (tmp_path / "out.partial").exists()


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt even where the runner was started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interruption_does_not_wait_for_the_network(server, tmp_path, whole, monkeypatch):
    original, network = source_files.HubFiles._obtain, threading.Event()
    committed = threading.Event()

    def stalling(self, name):
        if "00003" in name and not network.is_set():
            committed.wait(60)
            os.kill(os.getpid(), signal.SIGINT)
            network.wait(60)
        return original(self, name)

    def noting(self, chunks):
        released(self, chunks)
        committed.set()

    released = source_files.HubFiles.release
    monkeypatch.setattr(source_files.HubFiles, "release", noting)
    monkeypatch.setattr(source_files.HubFiles, "_obtain", stalling)
    planned = plan(REPO)
    with pytest.raises(KeyboardInterrupt):
        execute(planned, tmp_path / "out")
    assert not network.is_set()
    network.set()
    assert convert(REPO, tmp_path / "out").bytes_resumed > 0
    assert weights(tmp_path / "out") == whole


def test_verified(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    good = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert source_files.verified(path, 3, good)
    assert source_files.verified(path, 3, None)
    assert not source_files.verified(path, 4, good)
    assert not source_files.verified(path, 3, good[::-1])


def test_what_the_cache_has_is_not_downloaded_nor_deleted(server, tmp_path, whole):
    folder = hub.fetch(REPO)
    before = content(folder)
    server.log.clear()
    convert(REPO, tmp_path / "out")
    assert shards_fetched(server) == []
    assert weights(tmp_path / "out") == whole
    assert content(folder) == before
    server.stop()
    convert(REPO, tmp_path / "again")
    assert weights(tmp_path / "again") == whole


@pytest.mark.filterwarnings("ignore:Not enough free disk space")  # huggingface_hub's
def test_refusals_come_before_any_weights(server, tmp_path, monkeypatch):
    with pytest.raises(DeepSeekError, match="no such model"):
        plan("deepseek-ai/nothing")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(CheckpointError, match="free, the conversion"):
        convert(REPO, tmp_path / "out")
    name = f"model-00003-of-{SHARDS:06d}.safetensors"
    server.repos[REPO][name] = b"\xff" * 100
    with pytest.raises(CheckpointError, match=f"{REPO}/{name}: the header claims"):
        plan(REPO)
    del server.repos[REPO][name]
    with pytest.raises(CheckpointError, match=f"{name}: shard missing"):
        plan(REPO)
    assert shards_fetched(server) == []
