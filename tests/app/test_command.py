"""`mlx-deepseek app`: arguments, and who can reach the page."""

import argparse
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek_app import command
from mlx_deepseek_app.command import register, serve
from mlx_deepseek_app.server import security
from tests.app import scripted


@pytest.fixture
def parse():
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    return parser.parse_args


def test_without_arguments_it_is_nano_on_this_machine_only(parse):
    args = parse(["app"])
    assert (args.model, args.host, args.share) == ("nano", "127.0.0.1", False)


def test_headers_forbid_reaching_other_machines(site):
    assert site.url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(site.url) as response:
        policy = response.headers["content-security-policy"]
        page = response.read().decode()
    assert "default-src 'self'" in policy
    assert "http" not in policy
    assert "googleapis" not in page
    assert "gradio.live" not in page


def test_nothing_is_offered_to_programs_that_call_the_page(site):
    with urllib.request.urlopen(f"{site.url}gradio_api/info") as response:
        assert response.read() == b'{"named_endpoints":{},"unnamed_endpoints":{}}'


def test_a_port_that_is_taken_is_a_plain_error(site):
    port = int(site.url.rstrip("/").rsplit(":", 1)[1])
    with pytest.raises(DeepSeekError, match=f"127.0.0.1:{port}: cannot serve there"):
        serve(scripted.load, "scripted", port=port)


def test_a_port_that_does_not_exist_is_a_usage_error(parse, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(["app", "--port", "99999"])
    assert stopped.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_other_machines_need_a_password_and_leave_nothing_here(
    parse, monkeypatch, capsys, tmp_path
):
    asked = {}

    def served(loader, source, **options):
        asked.update(options)
        return SimpleNamespace(wait=lambda: None, close=lambda: None)

    monkeypatch.setattr(command, "serve", served)
    here = ["app", "--data", str(tmp_path), "--no-browser"]
    command.run(parse(here))
    assert (asked["password"], asked["data"]) == (None, tmp_path)
    command.run(parse([*here, "--host", "0.0.0.0"]))
    made = asked["password"]
    assert len(made) >= 12
    assert asked["data"] is None
    assert made in capsys.readouterr().err
    command.run(parse([*here, "--share", "--password", "mine"]))
    assert asked["password"] == "mine"


def test_uploads_of_an_app_that_crashed_are_removed_and_no_others(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "restored after the test")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f"{ended.pid}-a", f"{os.getpid()}-b", "x-c"):
        (tmp_path / f"{command.UPLOADS}{name}").mkdir()
    command.private_uploads.__wrapped__()
    mine = Path(os.environ["GRADIO_TEMP_DIR"])
    left = {folder.name.removeprefix(command.UPLOADS) for folder in tmp_path.iterdir()}
    assert left == {f"{os.getpid()}-b", "x-c", mine.name.removeprefix(command.UPLOADS)}
    assert mine.stat().st_mode & 0o077 == 0


def test_the_address_that_others_need_is_printed(monkeypatch):
    monkeypatch.setattr(security, "local_address", lambda: "192.168.1.5")
    url = "http://localhost:7861/"
    told = command.reachable(url, "0.0.0.0")
    assert told == f"http://192.168.1.5:7861/ for others on this network, here at {url}"
    assert command.reachable("http://127.0.0.1:7861/", "127.0.0.1") == "http://127.0.0.1:7861/"
    monkeypatch.setattr(security, "local_address", lambda: "")
    assert command.reachable(url, "0.0.0.0") == url
