"""Who may ask, how much, and what is told: every way in which a request is refused."""

import base64
import logging
import socket

import httpx
import pytest

from mlx_deepseek_app.server.gate import Gate
from mlx_deepseek_app.server.security import LOOPBACK
from mlx_deepseek_app.server.settings import ServerSettings
from mlx_deepseek_app.server.site import build
from tests.app.server.serving import serving

ASKED = {"model": "nano", "messages": [{"role": "user", "content": "What is 1 + 1?"}]}
APIS = ("/v1/chat/completions", "/chat/completions", "/v1/messages", "/anthropic/v1/messages")


def post(address, path="/v1/chat/completions", **options):
    told = {"json": ASKED | {"max_tokens": 3}, "timeout": 60}
    return httpx.post(address + path, **told | options)


@pytest.mark.parametrize("path", APIS)
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "evil.example:8080", "origin": "http://evil.example:8080"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    ],
)
def test_other_sites_are_refused(address, path, headers):
    answer = post(address, path, headers=headers)
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert error["type"] == "permission_error"
    assert "access-control-allow-origin" not in answer.headers


def test_a_form_of_another_site_is_refused(address):
    # text/plain needs no preflight
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {"content-type": kind, "origin": "https://evil.example"}
        answer = httpx.post(f"{address}/v1/chat/completions", content=b"{}", headers=headers)
        assert answer.status_code == 403


def test_no_page_may_read_unless_its_site_is_named(address, models):
    site = "http://localhost:3000"
    asks = {"origin": site, "access-control-request-method": "POST"}
    asks["access-control-request-headers"] = "authorization,content-type"
    assert httpx.options(f"{address}/v1/chat/completions", headers=asks).status_code == 403
    with serving(build(models, ServerSettings(cors=(site,), api_key="k"))) as named:
        preflight = httpx.options(f"{named}/v1/chat/completions", headers=asks)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == site
        headers = {"origin": site, "authorization": "Bearer k"}
        assert post(named, headers=headers).headers["access-control-allow-origin"] == site
        refused = post(named, headers={"origin": "http://localhost:3001"})
        assert refused.status_code == 403


def test_a_key_is_asked_for(models):
    with serving(build(models, ServerSettings(api_key="secret-key"))) as address:
        for path in APIS:
            for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "sécret"}):
                encoded = {key: value.encode() for key, value in headers.items()}
                assert post(address, path, headers=encoded).status_code == 401
            for headers in ({"authorization": "bearer secret-key"}, {"x-api-key": "secret-key"}):
                assert post(address, path, headers=headers).status_code == 200
        assert httpx.get(f"{address}/v1/models").status_code == 401
        assert httpx.get(f"{address}/metrics").status_code == 401
        assert httpx.get(f"{address}/health").json()["status"] == "ok"


def test_more_than_is_permitted_is_refused(models):
    settings = ServerSettings(body_bytes=2000, messages=3, images=1, answers=2)
    with serving(build(models, settings)) as address:
        long = ASKED | {"messages": [{"role": "user", "content": "x" * 3000}]}
        assert post(address, json=long).status_code == 413
        assert post(address, "/v1/messages", json=long).json()["error"]["type"] == (
            "request_too_large"
        )

        def endless():  # without a length
            for _ in range(100):
                yield b"x" * 1000

        assert post(address, json=None, content=endless()).status_code == 413
        assert post(address, json=ASKED | {"n": 3}).status_code == 400
        many = ASKED | {"messages": ASKED["messages"] * 4}
        assert "at most 3" in post(address, json=many).json()["error"]["message"]
        url = "data:image/png;base64," + base64.b64encode(b"x").decode()
        part = {"type": "image_url", "image_url": {"url": url}}
        shown = ASKED | {"messages": [{"role": "user", "content": [part, part]}]}
        assert "at most 1" in post(address, json=shown).json()["error"]["message"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../../etc/passwd", "/v1/models/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/models/%2fetc%2fpasswd", "/v1/responses/..%2f..%2fetc", "//evil.example/v1/models",
        "/v1/models/nano%00", "/docs", "/redoc", "/v1/models/" + "a" * 5000,
    ],
)  # fmt: skip
def test_paths_lead_nowhere(address, path):
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.split(b" ", 2)[1] in (b"404", b"400")
    assert b"root:" not in answer
    assert b"Traceback" not in answer


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "http://169.254.169.254/latest",
        "https://x.example/a.png",
    ],
)
def test_pictures_come_with_the_request_or_not_at_all(address, url):
    for part in (
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": url},
        {"type": "input_image", "image_url": url},
        {"type": "image", "image": url},
    ):
        shown = {"model": "nano", "messages": [{"role": "user", "content": [part]}]}
        answer = post(address, json=shown)
        assert answer.status_code == 400
        assert "data URL" in answer.text or "Expected text or image_url" in answer.text
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_image", "image_url": url}],
    }
    assert post(address, "/v1/responses", json={"input": [item]}).status_code == 400


def test_a_broken_handler_ends_one_request_and_logs_no_words(address, caplog):
    words = "secret" + " words"  # which are not in the source that a traceback shows

    async def broken(scope, receive, send):
        raise RuntimeError(words)

    app = Gate(broken, ServerSettings(), LOOPBACK, Counted())
    with caplog.at_level(logging.INFO), serving(app) as broken_address:
        for path in APIS:
            answer = post(broken_address, path)
            assert answer.status_code == 500
            assert words not in answer.text
            assert "RuntimeError" in answer.text
    assert words not in caplog.text
    assert "RuntimeError" in caplog.text


class Counted:
    """Counts nothing."""

    def response(self, status):
        pass


def test_the_log_has_counts_and_no_words(address, caplog):
    with caplog.at_level(logging.DEBUG):
        spoken = ASKED | {"messages": [{"role": "user", "content": "Purple elephants, 3 + 4?"}]}
        said = post(address, json=spoken | {"max_tokens": 60}).json()["choices"][0]["message"]
    assert "prompt" in caplog.text
    for words in ("Purple", "elephants", said["reasoning_content"][:12]):
        assert words not in caplog.text
    shown = httpx.get(f"{address}/v1/cache").text + httpx.get(f"{address}/metrics").text
    assert "elephants" not in shown
    assert "mlx_deepseek_prompt_tokens_total" in shown


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", ASKED),
        ("/v1/responses", {"model": "nano", "input": "What is 1 + 1?"}),
        ("/v1/messages", ASKED | {"max_tokens": 60}),
        ("/v1/completions", {"model": "nano", "prompt": "What is 1 + 1?", "max_tokens": 60}),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_cache_report_tells_how_each_answer_ended(address, path, body, stream):
    assert post(address, path, json=body | {"stream": stream}).status_code == 200
    (newest, *_) = httpx.get(f"{address}/v1/cache").json()["requests"]
    assert newest["state"] == "stop"
