"""Who is answered: the page itself, programs of this machine, and no other site."""

import asyncio
import urllib.error
import urllib.request

import pytest

from mlx_deepseek_app.server.security import LOOPBACK, OnlyFromHere, names, refusal

HERE = {"host": "127.0.0.1:7860"}
NETWORK = names("0.0.0.0", share=False)


@pytest.mark.parametrize(
    ("known", "headers"),
    [
        (LOOPBACK, HERE),
        (LOOPBACK, {"host": "LOCALHOST:9"}),
        (LOOPBACK, {"host": "[::1]:7860"}),
        (LOOPBACK, HERE | {"origin": "http://127.0.0.1:7860", "sec-fetch-site": "same-origin"}),
        (LOOPBACK, HERE | {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}),
        # a link that was followed from elsewhere
        (LOOPBACK, HERE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}),
        (NETWORK, {"host": "192.168.1.7:7860", "origin": "http://192.168.1.7:7860"}),
        (NETWORK, {"host": "[fe80::1]:7860"}),
        (names("Mac.lan", share=False), {"host": "mac.lan"}),
        (
            names("127.0.0.1", share=True),
            {"host": "a1.gradio.live", "origin": "https://a1.gradio.live"},
        ),
    ],
)
def test_the_page_and_programs_are_answered(known, headers):
    assert refusal("GET", headers, known) == ""


@pytest.mark.parametrize(
    ("known", "headers"),
    [
        (LOOPBACK, {}),
        (LOOPBACK, {"host": ""}),
        (LOOPBACK, {"host": "evil.example"}),
        (LOOPBACK, {"host": "127.0.0.1.evil.example:7860"}),
        (LOOPBACK, {"host": "localhost@evil.example"}),
        (LOOPBACK, {"host": "evil.example#127.0.0.1"}),
        (LOOPBACK, {"host": "192.168.1.7:7860"}),
        (LOOPBACK, {"host": "a1.gradio.live"}),
        (NETWORK, {"host": "evil.example"}),
        (names("127.0.0.1", share=True), {"host": "gradio.live.evil.example"}),
        (names("127.0.0.1", share=True), {"host": "192.168.1.7"}),
        (LOOPBACK, HERE | {"origin": "http://evil.example"}),
        (LOOPBACK, HERE | {"origin": "null"}),
        (LOOPBACK, HERE | {"origin": ""}),
        (LOOPBACK, HERE | {"origin": "http://127.0.0.1:8000"}),
        (LOOPBACK, HERE | {"origin": "http://localhost:7860"}),
        (LOOPBACK, HERE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}),
        (LOOPBACK, HERE | {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}),
        (
            LOOPBACK,
            HERE
            | {
                "sec-fetch-site": "same-site",
                "sec-fetch-mode": "navigate",
                "sec-fetch-dest": "iframe",
            },
        ),
    ],
)
def test_other_sites_and_other_names_are_not(known, headers):
    assert refusal("GET", headers, known)


def test_a_form_of_another_site_is_refused_though_it_navigates():
    headers = HERE | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert refusal("POST", headers, LOOPBACK)


def test_a_websocket_of_another_site_is_closed():
    sent = []

    async def send(message):
        sent.append(message)

    async def app(*_):
        pytest.fail("passed on")

    scope = {"type": "websocket", "headers": [(b"host", b"evil.example")]}
    asyncio.run(OnlyFromHere(app)(scope, send, send))
    assert sent[0]["type"] == "websocket.close"


FORM = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n0\r\n--x--'


@pytest.mark.parametrize(
    "foreign",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "http://localhost:1"}],
)
def test_the_server_gives_and_takes_nothing_across_sites(server, foreign):
    url = server[0].url
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    plain = {"Content-Type": "text/plain"}
    for path, body, headers in (
        ("", None, {}),
        ("config", None, {}),
        ("theme.css", None, {}),
        ("gradio_api/upload", FORM, kind),
        ("gradio_api/queue/join", b"{}", plain),
        ("gradio_api/run/predict", b"{}", plain),
        ("gradio_api/file=/etc/passwd", None, {}),
    ):
        request = urllib.request.Request(url + path, body, headers | foreign)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)
        assert refused.value.code == 403, path
