"""Uneven machines, experts on disk, pictures and pages on several processes: the same results."""

import json
import signal
import subprocess
import sys
from types import SimpleNamespace

import httpx
import pytest
from PIL import Image, ImageDraw, ImageFont

import mlx_deepseek as ds
from mlx_deepseek import engine, proving
from mlx_deepseek.cli import main
from mlx_deepseek.errors import HostsError
from mlx_deepseek_convert import convert
from tests.breadth import wide
from tests.distributed.conftest import ANSWER_S, environment, free_ports
from tests.distributed.rank0 import GREEDY, PROMPTS, QUESTION, SEEDED, drawn, load, read, tokens
from tests.image_generation import tiny
from tests.waiting import wait_until


@pytest.fixture
def pages(tmp_path):
    """Pictures of a word each."""
    files = []
    for word in ("blue", "seven"):
        picture = Image.new("RGB", (192, 192), "white")
        ImageDraw.Draw(picture).text((20, 80), word, "black", font=ImageFont.load_default(24))
        picture.save(tmp_path / f"{word}.png")
        files.append(str(tmp_path / f"{word}.png"))
    return files


def test_each_machine_has_its_share_of_layers(rings, alone, goldens_root):
    """One layer here and all others there, where that machine has the memory."""
    with rings(["700MB", "4GB"]) as ring:
        layers = ring("load", source="nano")
        assert len(layers) == 2
        want = alone.engine("nano").generate(QUESTION, temperature=0.0)
        assert ring("text", prompt=QUESTION, temperature=0.0)["text"] == want.text
        for case in ("deepseek_v2", "deepseek_v41"):
            assert len(load(ring, goldens_root, case)) == 2
            for sampling in (GREEDY, SEEDED):
                found = ring("tokens", prompts=PROMPTS, count=8, sampling=sampling)
                assert found == alone(case, sampling)


@pytest.mark.parametrize(
    ("case", "memory"),
    [("nano", ["6060kB", "2740kB"]), *wide(("deepseek_v41", ["6010kB", "8060kB"]))],
)
def test_experts_of_all_machines_come_from_their_disks(rings, goldens_root, tmp_path, case, memory):
    """Too little memory on both: the same text as with all experts in memory."""
    source = case
    if case != "nano":
        convert(goldens_root / case, tmp_path / "tiny", "bf16")
        source = str(tmp_path / "tiny")
    want = tokens(ds.load(source), PROMPTS, 8, GREEDY)
    with rings(memory) as ring:
        plan = ring("hosts", model=source)["plan"]
        assert all(part["capacities"] for part in plan["parts"]), plan["parts"]
        assert plan["decode_tps"] is None, "nobody has said how fast the disks are"
        found = ring("hosts", model=source, disk="1GB/s")
        least, most = found["plan"]["decode_tps"]
        assert 0 < least < most
        assert "routed experts of them in memory" in str(found["rows"])
        ring("load", source=source)
        assert ring("tokens", prompts=PROMPTS, count=8, sampling=GREEDY) == want
        assert ring("facts")["misses"] > 0


def test_pictures_are_drawn_on_two(two, goldens_root, tmp_path):
    for case in ("janus_pro", "janusflow"):
        tiny.release(goldens_root / case, tmp_path / case)
    source = str(tmp_path / "janus_pro")
    want = drawn(ds.load(source, dtype="float32"), "a red bicycle", 5)
    two("load", source=source, dtype="float32")
    assert two("drawn", prompt="a red bicycle", seed=5) == want
    two("load", source=str(tmp_path / "janusflow"), dtype="float32")
    kind, text = two.refused("drawn", prompt="a red bicycle", seed=5)
    assert kind == "PromptError"
    assert "on one machine only" in text


def test_pages_are_read_on_two(two, pages):
    want = read(ds.load("nano-ocr"), pages)
    assert all(want)
    two("load", source="nano-ocr")
    assert two("read", files=pages) == want


@pytest.mark.parametrize(
    "words",
    [["read", "a.png", "-o", "out"], ["draw", "m", "a cat"], ["prove", "a.lean", "--model", "m"]],
    ids=lambda words: words[0],
)
def test_commands_ask_for_several_machines(monkeypatch, tmp_path, capsys, words):
    def load(*_, hosts, split, **__):
        raise HostsError(f"{hosts} by {split}")

    (tmp_path / "a.lean").write_text("theorem a : 1 = 1 := by sorry\n")
    lean = SimpleNamespace(
        version="4", project=None, executable="lean", has_mathlib=False, found="", sandbox=""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(proving, "find_lean", lambda *_, **__: lean)
    monkeypatch.setattr(engine, "load", load)
    assert main([*words, "--hosts", "hosts.json", "--split", "tensor"]) == 1
    assert "hosts.json by tensor" in capsys.readouterr().err


def test_one_talks_with_two_in_a_terminal(alone, hosts_file):
    words = ["chat", "nano", "--temperature", "0", "--hosts", str(hosts_file(["4GB", "4GB"]))]
    command = [sys.executable, "-m", "mlx_deepseek.cli", *words]
    said = subprocess.run(
        command,
        input=f"{QUESTION}\n/exit\n",
        env=environment(),
        capture_output=True,
        text=True,
        timeout=ANSWER_S,
    )
    assert said.returncode == 0, said.stderr
    assert alone.engine("nano").generate(QUESTION, temperature=0.0).text in said.stdout


def test_the_app_and_its_server_answer_from_two(alone, hosts_file, tmp_path):
    """Ctrl+C ends the app and the other process."""
    (port,) = free_ports(1)
    words = ["app", "nano", "--no-browser", "--port", str(port), "--data", str(tmp_path)]
    words += ["--hosts", str(hosts_file(["4GB", "4GB"]))]
    app = subprocess.Popen([sys.executable, "-m", "mlx_deepseek.cli", *words], env=environment())
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=ANSWER_S) as client:
            wait_until(lambda: said(client, max_tokens=1), ANSWER_S)  # 503 while it loads
            found = said(client)
        app.send_signal(signal.SIGINT)
        assert app.wait(30) == 0
    finally:
        app.kill()
    want = alone.engine("nano").generate(QUESTION, temperature=0.0)
    assert found == (want.text, want.reasoning)


def said(client: httpx.Client, **options) -> tuple[str, str] | None:
    """Answer and reasoning; None where nobody answers yet."""
    body = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0, **options}
    try:
        response = client.post("/v1/chat/completions", json=body)
    except httpx.TransportError:
        return None
    if response.status_code == 503:
        return None
    message = response.raise_for_status().json()["choices"][0]["message"]
    return message["content"], message.get("reasoning_content") or ""


def test_the_same_command_under_mlx_launch(alone, tmp_path):
    """Started on every machine, rank 0 writes and the others follow until it ends."""
    ring = tmp_path / "ring.json"
    ring.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(2)]))
    words = ["generate", "nano", QUESTION, "--temperature", "0"]
    command = [sys.executable, "-m", "mlx_deepseek.cli", *words]
    ranks = [
        subprocess.Popen(
            command,
            env=environment() | {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(ring)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [one.communicate(timeout=ANSWER_S)[0] for one in ranks]
        assert [one.returncode for one in ranks] == [0, 0]
    finally:
        for one in ranks:
            one.kill()
    assert alone.engine("nano").generate(QUESTION, temperature=0.0).text in said[0]
    assert said[1] == ""
