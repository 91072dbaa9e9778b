"""Conversions stopped at any moment go on, and give what an uninterrupted one gives."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_convert import convert, plan
from mlx_deepseek_convert.planning import chunks
from mlx_deepseek_convert.planning.chunks import lay_out
from mlx_deepseek_convert.write import writer
from mlx_deepseek_convert.write.disk import InterruptedConversionError
from mlx_deepseek_convert.write.journal import Journal

CASE = "deepseek_v3_fp8"
# Calls that `killed` counts in a whole run: test_the_number_of_calls.
EVENTS = 265


@pytest.fixture(autouse=True)
def frequent_commits(monkeypatch):
    monkeypatch.setattr(writer, "COMMIT_BYTES", 20_000)


@pytest.fixture
def source(goldens_root) -> Path:
    return goldens_root / CASE


@pytest.fixture
def whole(source, tmp_path) -> dict[str, bytes]:
    """What an uninterrupted conversion gives."""
    convert(source, tmp_path / "whole")
    return content(tmp_path / "whole")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_after(share: float, error: BaseException):
    def progress(done: int, total: int) -> None:
        if done > share * total:
            raise error

    return progress


def interrupt(source: Path, target: Path, share: float = 0.5) -> None:
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, progress=stop_after(share, KeyboardInterrupt()))
    assert not target.exists()


def run_killed(
    source: Path | str, target: Path, event: int, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.convert.write.killed", str(source), str(target), "4bit"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return subprocess.run(
        [*command, str(event)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[3],
    )


def test_kill_after_kill(source, tmp_path, whole):
    """Each run is killed in the midst of some call to the system; the last one is not."""
    draw = random.Random(3)
    target = tmp_path / "target"
    for _ in range(3):
        killed = run_killed(source, target, draw.randint(1, EVENTS // 4))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert not target.exists()
    assert convert(source, target).bytes_resumed > 0
    assert content(target) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["target", "whole"]


def test_the_number_of_calls(source, tmp_path, whole):
    counted = run_killed(source, tmp_path / "target", -1)
    assert int(counted.stdout) == EVENTS
    assert content(tmp_path / "target") == whole


@pytest.mark.parametrize("before_end", [0, 2, 3])
def test_kill_while_publishing(source, tmp_path, whole, before_end):
    """The last calls give the final name and clear away: whole, under one name or the other."""
    target = tmp_path / "target"
    killed = run_killed(source, target, EVENTS - before_end)
    assert killed.returncode == -signal.SIGKILL
    convert(source, target)
    assert content(target) == whole
    assert not (tmp_path / "target.partial").exists()


def test_an_interrupted_conversion_goes_on(source, tmp_path, whole):
    target = tmp_path / "target"
    interrupt(source, target)
    report = convert(source, target)
    assert 0.3 < report.bytes_resumed / report.bytes_out < 1
    assert content(target) == whole
    assert not (tmp_path / "target.partial").exists()


def test_a_full_disk_keeps_what_is_done(source, tmp_path, whole, monkeypatch):
    room, original = [plan(source).bytes_out // 2], os.pwrite

    def limited(descriptor: int, data: bytes, start: int) -> int:
        if len(data) > room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(data)
        return original(descriptor, data, start)

    target = tmp_path / "target"
    monkeypatch.setattr(os, "pwrite", limited)
    with pytest.raises(InterruptedConversionError, match=r"disk is full.*goes on"):
        convert(source, target)
    assert not target.exists()
    room[0] = 1 << 40
    assert convert(source, target).bytes_resumed > 0
    assert content(target) == whole


def test_a_journal_without_room_says_so_once(tmp_path):
    """Closing it does not fail again: that would hide what the user can do about it."""
    journal = Journal(tmp_path / "journal", "plan")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "journal").stat().st_size, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            journal.add_chunks({0: [1]})
        journal.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    again = Journal(tmp_path / "journal", "plan")
    assert again.chunks == {}
    again.close()


def test_what_the_disk_lost_is_found_and_done_anew(source, tmp_path, whole, monkeypatch):
    target = tmp_path / "target"
    original, done = os.pwrite, []

    def forgetful(descriptor: int, data: bytes, start: int) -> int:
        done.append(start)
        return original(descriptor, b"\xff" * len(data) if len(done) == 30 else data, start)

    monkeypatch.setattr(os, "pwrite", forgetful)
    with pytest.raises(InterruptedConversionError, match="does not hold what was written"):
        convert(source, target)
    assert not target.exists()
    assert convert(source, target).bytes_resumed > 0.8 * plan(source).bytes_out
    assert content(target) == whole


def test_unfinished_work_of_another_recipe_is_not_thrown_away(source, tmp_path, whole):
    target = tmp_path / "target"
    interrupt(source, target)
    with pytest.raises(CheckpointError, match=r"target\.partial: holds an unfinished conversion"):
        convert(source, target, "8bit")
    convert(source, target)
    assert content(target) == whole
    interrupt(source, tmp_path / "other")
    convert(source, tmp_path / "other", "8bit", overwrite=True)
    assert content(tmp_path / "other") != whole


def test_nothing_done_is_nothing_to_protect(source, tmp_path, whole):
    partial = tmp_path / "target.partial"
    partial.mkdir()
    Journal(partial / "journal", "another plan").close()
    convert(source, tmp_path / "target")
    assert content(tmp_path / "target") == whole


def test_an_earlier_conversion_comes_back(source, tmp_path, whole):
    """Killed between the renames that replace it, and then nothing better comes."""
    target, partial = tmp_path / "target", tmp_path / "target.partial"
    convert(source, target)
    partial.mkdir()
    target.rename(partial / "replaced")
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, progress=stop_after(-1, KeyboardInterrupt()))
    assert content(target) == whole


def test_lost_files_of_unfinished_work(source, tmp_path, whole):
    target = tmp_path / "target"
    interrupt(source, target)
    next((tmp_path / "target.partial" / "result").glob("*.safetensors")).unlink()
    assert convert(source, target).bytes_resumed == 0
    assert content(target) == whole


def test_replacing_an_earlier_conversion(source, tmp_path, whole):
    target = tmp_path / "target"
    convert(source, target, "8bit")
    with pytest.raises(KeyboardInterrupt):
        convert(source, target, overwrite=True, progress=stop_after(0.5, KeyboardInterrupt()))
    assert content(target) != whole
    assert convert(source, target, overwrite=True).bytes_resumed > 0
    assert content(target) == whole


def test_checksums_are_those_of_the_files(source, tmp_path):
    import hashlib

    report = convert(source, tmp_path / "target")
    weights = sorted((tmp_path / "target").glob("*.safetensors"))
    assert report.checksums == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in weights
    }


def test_chunks_fill_the_files_without_gap_or_overlap(goldens_root):
    for case in (CASE, "deepseek_v3", "deepseek_v2_lite", "r1_distill_qwen"):
        for numbers in (1, 5000, 1 << 23):
            layout = lay_out(plan(goldens_root / case, "4bit"), numbers)
            for name, size in layout.sizes.items():
                places = [place for chunk in layout.chunks for place in chunk.places]
                spans = sorted((p.start, p.nbytes) for p in places if p.file == name)
                end = len(layout.headers[name])
                for start, nbytes in spans:
                    assert start == end
                    end += nbytes
                assert end == size


def test_small_chunks_give_the_same(source, tmp_path, whole, monkeypatch):
    monkeypatch.setattr(chunks, "lay_out", lambda planned: lay_out(planned, 3000))
    convert(source, tmp_path / "target")
    assert content(tmp_path / "target") == whole


def test_a_journal_forgets_a_torn_line(tmp_path):
    path = tmp_path / "journal"
    journal = Journal(path, "plan")
    journal.add_chunks({0: [7], 1: [8, 9]})
    journal.add_file("a", "sum")
    journal.forget([0])
    journal.close()
    good = path.read_bytes()
    for torn in (b"", b"[2,1", b"[2,1]\x00\n", b"\x00" * 40, b'{"fi'):
        path.write_bytes(good + torn)
        again = Journal(path, "plan")
        again.add_chunks({5: [1]})
        again.close()
        last = Journal(path, "plan")
        assert last.chunks == {1: [8, 9], 5: [1]}
        assert last.files == {"a": "sum"}
        last.close()
    other = Journal(path, "another plan")
    assert other.chunks == {}
    other.close()
