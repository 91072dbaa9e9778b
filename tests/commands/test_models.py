"""The catalog on the command line."""

import argparse
import io
import json

import pytest
from huggingface_hub import constants

from mlx_deepseek import catalog
from mlx_deepseek.commands import models
from mlx_deepseek.models import ARCHITECTURES, describe
from mlx_deepseek.runtime import memory


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    """A machine of 24 GB with empty caches."""
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: 24_000_000_000)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("MLX_DEEPSEEK_CACHE", str(tmp_path))


def call(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    models.register(parser.add_subparsers())
    args = parser.parse_args(["models", *arguments])
    return args.func(args)


def test_every_architecture_is_listed(capsys):
    assert call("--json") == 0
    runs = json.loads(capsys.readouterr().out)
    described = {describe(catalog.find(entry["repo"]).config) for entry in runs}
    assert described == set(ARCHITECTURES)


def test_only_what_runs_is_listed_unless_all_is_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("mlx_deepseek.models.known", lambda config: describe(config) != "llama")
    assert call("--json") == 0
    runs = json.loads(capsys.readouterr().out)
    assert call("--json", "--all") == 0
    everything = json.loads(capsys.readouterr().out)
    assert [entry for entry in everything if entry["supported"]] == runs
    assert {entry["model_type"] for entry in everything if not entry["supported"]} == {"llama"}


def test_filter_takes_part_of_a_name_in_any_case(capsys):
    assert call("v2-LITE", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found
    assert all("v2-lite" in entry["repo"].lower() for entry in found)


def test_what_fits_follows_from_the_estimated_size():
    fits = {entry["repo"].split("/")[1]: entry["fits"] for entry in models.listed("")}
    assert fits["DeepSeek-V2-Lite-Chat"]
    assert fits["DeepSeek-R1-Distill-Qwen-32B"]  # 19.7 GB of 21
    assert not fits["DeepSeek-R1-Distill-Llama-70B"]
    assert not fits["DeepSeek-V3"]


def test_table_in_a_file_is_wide(capsys):
    assert call("DeepSeek-V2-Lite-Chat") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "V2-Lite" in line)
    assert line.split()[:7] == ["DeepSeek-V2-Lite-Chat", "15.7B", "2.4B", "32K", "9.4", "GB", "yes"]
    assert "DeepSeek Model License" in line


def test_table_on_a_narrow_terminal_keeps_names_whole():
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    entries = models.listed("")
    console.print(models.table(entries, wide=False))
    text = console.export_text()
    for entry in entries:
        assert entry["repo"].split("/")[1] in text


def test_no_match_is_an_error_on_stderr(capsys):
    assert call("llama-9") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "No model matches 'llama-9'" in err
