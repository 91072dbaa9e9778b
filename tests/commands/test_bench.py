"""A short benchmark of a tiny model."""

import argparse
import json
import signal
import subprocess
import sys

import mlx.core as mx
import pytest

from mlx_deepseek.checkpoint.load_weights import compute_dtype, load_model
from mlx_deepseek.commands import bench
from mlx_deepseek.errors import PromptError
from mlx_deepseek.models import sizes
from mlx_deepseek.nano.text.config import CONTEXT
from mlx_deepseek.runtime import speed
from mlx_deepseek.runtime.compute_thread import shared_worker
from mlx_deepseek_convert import convert


@pytest.fixture(scope="module")
def folder(goldens_root, tmp_path_factory):
    target = tmp_path_factory.mktemp("bench") / "model"
    convert(goldens_root / "deepseek_v2_lite", target, "bf16")
    return target


@pytest.fixture(autouse=True)
def small_copies(monkeypatch):
    monkeypatch.setattr(speed, "COPY_BYTES_CPU", 1 << 22)
    monkeypatch.setattr(speed, "COPY_BYTES_GPU", 1 << 22)
    monkeypatch.setattr(speed, "READ_S", 0.05)


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    bench.register(parser.add_subparsers())
    return parser.parse_args(["bench", *arguments])


def test_json_has_what_the_fraction_comes_from(folder, capsys):
    args = parse(str(folder), "--prompt", "20", "--tokens", "6", "--repeats", "2", "--json")
    assert args.func(args) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["prefill_tps"] > 0
    assert result["decode_tps"] > 0
    assert result["peak_memory_bytes"] > 0
    assert result["device"]
    assert result["versions"].keys() == {"mlx-deepseek", "mlx", "mlx-lm"}
    limit = result["copy_bytes_per_s"] / result["read_bytes_per_token"]
    assert result["fraction_of_limit"] == pytest.approx(result["decode_tps"] / limit)


def test_read_bytes_grow_with_the_cache_alone(folder):
    model, config = load_model(folder)
    short = bench.measure(str(folder), prompt=4, tokens=2, repeats=2)
    long = bench.measure(str(folder), prompt=24, tokens=2, repeats=2)
    item_bytes = 4 if compute_dtype() is not None else 2
    per_token = sizes.cache_bytes_per_token(model, config, item_bytes)
    assert long.read_bytes_per_token - short.read_bytes_per_token == 20 * per_token
    assert short.read_bytes_per_token == sizes.count(model).read_bytes + 5 * per_token


def test_stop_tokens_do_not_end_a_measurement(folder):
    model, _ = shared_worker().call(load_model, folder)
    usage = bench.generate(shared_worker(), model, [1, 2, 3], 7)
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (3, 0, 7)


def test_table(folder, capsys):
    args = parse(str(folder), "--prompt", "8", "--tokens", "3", "--repeats", "2")
    assert args.func(args) == 0
    text = capsys.readouterr().out
    assert "of the bandwidth limit" in text
    assert "3 tokens" in text


def test_what_exceeds_the_window_is_refused(folder):
    with pytest.raises(PromptError, match="do not fit its context window"):
        bench.measure(str(folder), prompt=10**7)


@pytest.mark.parametrize("value", ["1", "-5", "x"])
def test_too_little_to_measure_is_refused(value, capsys):
    with pytest.raises(SystemExit):
        parse("nano", "--tokens", value)
    assert "--tokens" in capsys.readouterr().err


INTERRUPTED = """
import sys
from mlx_deepseek.cli import main
from mlx_deepseek.commands import bench
measure = bench.generate

def announced(*args):
    print("begun", flush=True)
    return measure(*args)

bench.generate = announced
sys.exit(main(["bench", sys.argv[1], "--prompt", "8", "--tokens", "100000"]))
"""


def test_unasked_it_reads_what_fits_the_window():
    result = bench.measure("nano", tokens=64, repeats=1)
    assert result.prompt_tokens == CONTEXT - 64


def test_an_interrupt_ends_with_130(folder):
    command = [sys.executable, "-c", INTERRUPTED, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n", process.stderr.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert b"Traceback" not in process.stderr.read()


def test_experts_on_disk_count_into_the_limit(folder, capsys, monkeypatch):
    from mlx_deepseek.checkpoint import room

    monkeypatch.setattr(room, "CONTEXT_TOKENS", 8)
    found, _ = room.model_memory(folder)
    monkeypatch.setattr(mx, "get_active_memory", lambda: 0)
    size = f"{int((found.nbytes - 1000) * 8 / 7)}B"
    args = parse(
        str(folder), "--prompt", "20", "--tokens", "6", "--repeats", "2", "--memory", size, "--json"
    )
    assert args.func(args) == 0
    result = json.loads(capsys.readouterr().out)
    assert 0 < result["hit_rate"] < 1
    seconds = result["read_bytes_per_token"] / result["copy_bytes_per_s"]
    seconds += result["disk_bytes_per_token"] / result["disk_bytes_per_s"]
    assert result["disk_bytes_per_token"] > 0
    assert result["fraction_of_limit"] == pytest.approx(seconds * result["decode_tps"])
