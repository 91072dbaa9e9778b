"""A machine that is lost, late or another one than it should be: clear errors, soon."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.distributed.conftest import ANSWER_S, environment, gone
from tests.waiting import wait_until

PROMPT = [5, 17, 3]


def load(ring, folder):
    return ring("load", source=str(folder), dtype="float32")


@pytest.mark.parametrize("hurt", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hangs"])
def test_a_lost_machine_ends_the_request(rings, goldens_root, hurt):
    """It is named within the time-out, later requests hear the same, and nobody is left."""
    with rings(2, timeout_s=3.0) as ring:
        load(ring, goldens_root / "deepseek_v2")
        (pid,) = ring("facts")["pids"]
        ring("begin", ids=PROMPT)
        os.kill(pid, hurt)
        kind, text = ring.refused("go_on")
        assert kind == "HostsError"
        assert "localhost (rank 1)" in text
        assert ("ended with status -9" if hurt == signal.SIGKILL else "not been heard") in text
        assert ring.refused("logits", ids=PROMPT) == (kind, text)
        assert ring.refused("load", source="nano")[0] == kind
        assert ring.end() == 1
        wait_until(lambda: gone([pid]), 30)


def test_other_weights_are_refused(rings, goldens_root, tmp_path):
    """One byte in one file is enough; the group goes on, and ends when rank 0 is killed."""
    shutil.copytree(goldens_root / "deepseek_v2", tmp_path / "deepseek_v2")
    file = tmp_path / "deepseek_v2" / "model-00002-of-00002.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with rings(2, models=str(tmp_path)) as ring:
        kind, text = ring.refused("load", source=str(goldens_root / "deepseek_v2"), dtype="float32")
        assert kind == "HostsError"
        assert "localhost (rank 1) has other weights" in text
        kind, text = ring.refused("load", source=str(goldens_root / "deepseek_v3"), dtype="float32")
        assert kind == "HostsError"
        assert f"{tmp_path / 'deepseek_v3'}" in text
        content[-1] ^= 1
        file.write_bytes(content)
        load(ring, goldens_root / "deepseek_v2")
        assert ring("tokens", prompts=[PROMPT], count=2, sampling={"temperature": 0.0})
        pids = ring("facts")["pids"]
        ring.process.kill()
        wait_until(lambda: gone(pids), 30)


def test_a_machine_that_cannot_be_started(rings):
    with rings(2, python="/nowhere/python") as ring:
        kind, text = ring.refused("load", source="nano")
        assert kind == "HostsError"
        assert "localhost (rank 1): cannot be started" in text


@pytest.mark.skipif(sys.platform != "linux", reason="children are read from /proc")
def test_a_server_ends_with_its_machines(hosts_file, tmp_path):
    """It says why, and its exit status tells who waits for it that it has failed."""
    words = ["serve", "nano", "--port", "0", "--hosts", str(hosts_file(["4GB", "4GB"]))]
    with (tmp_path / "said").open("w") as said:
        command = [sys.executable, "-m", "mlx_deepseek.cli", *words]
        server = subprocess.Popen(command, stderr=said, env=environment())
    try:
        wait_until(lambda: "Ctrl+C stops it" in (tmp_path / "said").read_text(), ANSWER_S)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        (pid,) = [int(one) for one in children if b"distributed" in command_of(one)]
        os.kill(pid, signal.SIGKILL)
        assert server.wait(30) == 1
    finally:
        server.kill()
    assert "localhost (rank 1) ended with status -9" in (tmp_path / "said").read_text()


def command_of(pid: str) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
