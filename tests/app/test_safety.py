"""What the server gives, takes and says: its own files, small uploads, and no word of a talk."""

import logging
import socket
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from playwright.sync_api import expect

from mlx_deepseek_app import command
from mlx_deepseek_app.command import serve
from mlx_deepseek_app.storage.store import FILE
from tests.app import scripted
from tests.app.conftest import is_local
from tests.app.test_browser import ANSWER, ask, idle, to_page

SECRET = "what-nobody-may-read-in-a-log"
NAMES = (
    "<img src=x onerror=window.hacked=1>",
    "'\"><svg onload=window.hacked=1>",
    "{{constructor.constructor('window.hacked=1')()}}",
    "[x](javascript:window.hacked=1)",
)


@pytest.fixture
def kept_site(tmp_path):
    served = serve(lambda source, **_: scripted.load(source), "scripted", data=tmp_path)
    yield served
    served.close()


def status(url, data=None, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_no_file_but_its_own_is_served(kept_site, tmp_path):
    (tmp_path / "private.txt").write_text("mine")
    here = Path(command.__file__).parent
    for path in ("/etc/passwd", tmp_path / "private.txt", tmp_path / FILE, here / "page.py"):
        assert Path(path).is_file()
        for form in (path, quote(str(path), safe=""), f"/tmp/gradio/../..{path}"):
            assert status(f"{kept_site.url}gradio_api/file={form}") in (403, 404), form
    for way in ("file=pyproject.toml", "file=../../etc/passwd", "file=http://other.example/x"):
        assert status(f"{kept_site.url}gradio_api/{way}") in (400, 403, 404), way
    assert status(f"{kept_site.url}static/../../../page.py") in (403, 404)


def test_uploads_are_limited_in_bytes(monkeypatch):
    monkeypatch.setattr(command, "UPLOAD_AT_MOST", "4kb")
    served = serve(lambda source, **_: scripted.load(source), "scripted")
    about = b'Content-Disposition: form-data; name="files"; filename="a.png"'
    form = b"--x\r\n" + about + b"\r\n\r\n%b\r\n--x--"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answers = [
        status(f"{served.url}gradio_api/upload", form % (b"0" * size), **headers)
        for size in (1000, 9000)
    ]
    served.close()
    assert answers == [200, 413]


def test_the_server_asks_nobody_else(monkeypatch, kept_site):
    asked = []
    plain = socket.getaddrinfo

    def noting(host, *rest, **options):
        asked.append(host)
        return plain(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", noting)
    other = serve(lambda source, **_: scripted.load(source), "scripted")
    with urllib.request.urlopen(f"{other.url}config") as answer:
        assert b'"analytics_enabled":false' in answer.read()
    other.close()
    assert {host for host in asked if not is_local(f"http://{host}")} <= {"localhost", "0.0.0.0"}


@pytest.mark.browser
def test_no_word_of_a_conversation_is_logged(open_page, caplog, capfd, tmp_path):
    class Failing(scripted.ScriptedEngine):
        def _written(self, messages, **options):
            yield from super()._written(messages, **options)
            if "break" in messages[-1]["content"]:
                raise ValueError(f"cannot work with {messages[-1]['content']}")

    served = serve(lambda source, **_: Failing("failing"), "failing", data=tmp_path)
    with caplog.at_level(logging.DEBUG):
        page = open_page(served)
        ask(page, f"say: {SECRET}")
        idle(page)
        expect(page.locator(ANSWER).last).to_have_text(SECRET)
        ask(page, f"break {SECRET}")
        idle(page)
        expect(page.locator(ANSWER).last).to_contain_text("Try again; if it comes back")
        page.get_by_label("Search conversations").fill(SECRET)
        expect(page.locator("#conversations li")).to_have_count(1)
        ask(page, "say: fine")  # the app lives on
        idle(page)
        page.close()
    served.close()
    said = capfd.readouterr()
    assert "a job of the app failed: ValueError" in caplog.text
    assert SECRET not in caplog.text + said.out + said.err


@pytest.mark.browser
def test_the_names_of_files_do_nothing(open_page, tmp_path):
    engine = scripted.load("eyes")
    engine.fills = True
    served = serve(lambda source, **_: engine, "eyes")
    page = open_page(served)
    page.evaluate("window.hacked = 0")
    files = [tmp_path / f"{name}.png" for name in NAMES]
    for file in files:
        Image.new("RGB", (40, 40), "orange").save(file)
    (tmp_path / f"{NAMES[0]}.pdf").write_bytes(b"%PDF-1.7 nothing")
    (tmp_path / f"{NAMES[0]}.py").write_bytes(b"\xff")

    def choose(button, chosen):
        with page.expect_file_chooser() as choosing:
            button.click()
        choosing.value.set_files(chosen)

    choose(page.get_by_role("button", name="Attach"), [*files, tmp_path / f"{NAMES[0]}.pdf"])
    expect(page.locator("#attached img")).to_have_count(len(files))
    ask(page, "say: seen")
    idle(page)
    for tab, wrong in (("Pictures", None), ("Documents", ".pdf"), ("Code", ".py")):
        to_page(page, tab)
        chosen = [*files, *([tmp_path / f"{NAMES[0]}{wrong}"] if wrong else [])]
        choose(page.locator(f"#{tab.lower()}-files button").first, chosen)
        expect(page.locator(f"#{tab.lower()}-files .file-preview tr")).to_have_count(len(chosen))
        if tab == "Pictures":
            page.get_by_label("Question or phrase").fill("say: seen")
        page.locator(f"#{tab.lower()}-go").click()
        said = "Read:" if tab == "Documents" else "Done"
        expect(page.locator(f"#{tab.lower()}-state")).to_contain_text(said)
    page.wait_for_timeout(500)
    assert page.evaluate("window.hacked") == 0
    assert page.locator("[onerror], [onload], script[src*=other]").count() == 0
    page.close()
    served.close()
