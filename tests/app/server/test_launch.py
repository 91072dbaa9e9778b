"""Agents are started with settings that reach the server."""

import json
import os
import stat
import sys

import httpx
import pytest

from mlx_deepseek.cli import FAILED, main
from mlx_deepseek_app.server.agents import AGENTS, Target


def test_settings_are_shown(address, capsys):
    assert main(["launch", "claude", "--url", address, "--print"]) == 0
    shown = capsys.readouterr().out
    assert f"export ANTHROPIC_BASE_URL={address}\n" in shown
    assert "export ANTHROPIC_MODEL=nano\n" in shown
    assert shown.endswith("\nclaude\n")


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_gets_its_settings_and_its_status_is_returned(
    address, name, tmp_path, monkeypatch
):
    program = tmp_path / AGENTS[name].program
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump([sys.argv[1:], dict(os.environ)], open({str(tmp_path / 'seen')!r}, 'w'))\n"
        "sys.exit(7)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert main(["launch", name, "--url", address + "/v1", "--", "--help"]) == 7
    words, environment = json.loads((tmp_path / "seen").read_text())
    target = Target(address, "nano")
    assert words == [*AGENTS[name].arguments(target), "--help"]
    told = AGENTS[name].environment(target)
    assert {key: environment[key] for key in told} == told
    # each address that is told is one that answers
    text = " ".join([*words, *told.values()])
    for url in {word.strip('"') for word in text.replace(",", " ").replace("=", " ").split()}:
        if url.startswith(address):
            models = url.removesuffix("/v1") + "/v1/models"
            assert httpx.get(models).status_code == 200


def test_what_is_missing_is_told(address, capsys, monkeypatch):
    assert main(["launch", "claude", "--url", "http://127.0.0.1:9", "--print"]) == FAILED
    assert "mlx-deepseek serve" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(["launch", "codex", "--url", address]) == FAILED
    assert "npm install" in capsys.readouterr().err
