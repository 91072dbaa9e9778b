"""`mlx-deepseek app`: arguments, and who can reach the page."""

import argparse
import urllib.request

import pytest

from mlx_deepseek.errors import DeepSeekError
from mlx_deepseek_app.command import register, serve
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
