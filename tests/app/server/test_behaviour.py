"""A server under way: clients that go, prompts that take long, queues that are full, SIGTERM."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import httpx
import pytest

import mlx_deepseek as ds
from mlx_deepseek.errors import Busy, HostsError
from mlx_deepseek_app.server.command import listen
from mlx_deepseek_app.server.errors import understood
from mlx_deepseek_app.server.models_loaded import LoadedModels, NamedModel
from mlx_deepseek_app.server.settings import ServerSettings
from mlx_deepseek_app.server.site import build
from tests.app.server.serving import serving
from tests.waiting import wait_until

# what nano answers with as many tokens as its window holds
ENDLESS = {
    "model": "nano",
    "messages": [{"role": "user", "content": "Count."}],
    "temperature": 1.0,
    "logit_bias": {"1": -100},
    "max_tokens": 480,
}
SHORT = {"model": "nano", "messages": [{"role": "user", "content": "What is 1 + 1?"}]}
CHAT = "/v1/chat/completions"


def running(address):
    requests = httpx.get(f"{address}/v1/cache", timeout=30).json()["requests"]
    return [one for one in requests if one["state"] in ("waiting", "reading", "writing")]


@pytest.mark.parametrize(
    ("path", "stream"),
    [(CHAT, True), (CHAT, False), ("/v1/messages", True), ("/v1/responses", True)],
)
def test_a_client_that_goes_stops_its_answer(address, path, stream):
    body = {**ENDLESS, "stream": stream, "input": "Count.", "max_output_tokens": 480}
    if path == "/v1/responses":
        del body["messages"], body["max_tokens"]
    if stream:
        with httpx.stream("POST", address + path, json=body, timeout=30) as answer:
            next(answer.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(address + path, json=body, timeout=1.0)
    wait_until(lambda: not running(address))


def test_several_answers_stop_together(address):
    body = {**ENDLESS, "stream": True, "n": 3}
    with httpx.stream("POST", address + CHAT, json=body, timeout=60) as one:
        lines = one.iter_lines()  # which would close the connection if nobody held it
        next(lines)
        wait_until(lambda: len(running(address)) == 3)
    wait_until(lambda: not running(address))


class Slow:
    """An engine that reads for a while before it answers as nano does."""

    def __init__(self, engine, seconds, error=None):
        self._engine = engine
        self._seconds = seconds
        self._error = error

    def __getattr__(self, name):
        return getattr(self._engine, name)

    async def astream(self, prompt, **options):
        await asyncio.sleep(self._seconds)
        if self._error is not None:
            raise self._error
        async for chunk in self._engine.astream(prompt, **options):
            yield chunk


class OneModel:
    """A server's models: one."""

    def __init__(self, engine):
        self._engine = engine

    def listed(self):
        return ["nano"]

    def engines(self):
        return {}

    def named(self, name):
        return NamedModel("nano", "nano")

    def use(self, name):
        return Held(self._engine)


class Held:
    """An engine in memory."""

    def __init__(self, engine):
        self._engine = engine

    async def __aenter__(self):
        return self._engine

    async def __aexit__(self, *_):
        pass


@pytest.fixture(scope="module")
def engine():
    with ds.load("nano") as engine:
        yield engine


def slow_site(engine, seconds, error=None):
    return serving(build(OneModel(Slow(engine, seconds, error)), ServerSettings(keepalive_s=0.1)))


@pytest.mark.parametrize(
    ("path", "sign"), [(CHAT, ": keep-alive"), ("/v1/messages", "event: ping")]
)
def test_a_connection_lives_while_a_prompt_is_read(engine, path, sign):
    body = SHORT | {"max_tokens": 3, "stream": True}
    with slow_site(engine, 1.0) as address:
        text = httpx.post(address + path, json=body, timeout=60).text
    assert text.startswith(sign)
    assert text.count(sign) > 3
    assert "[DONE]" in text or "message_stop" in text


@pytest.mark.parametrize("path", [CHAT, "/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_full_queue_says_when_to_come_again(engine, path):
    body = SHORT | {"max_tokens": 3, "input": "Hi"}
    with slow_site(engine, 0.0, Busy("16 requests wait. Ask again later.", 2.4)) as address:
        for stream in (False, True):
            answer = httpx.post(address + path, json=body | {"stream": stream})
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "3"
            assert "Ask again" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
def test_an_error_in_mid_stream_is_an_event(engine, path):
    body = SHORT | {"max_tokens": 3, "input": "Hi", "stream": True}
    with slow_site(engine, 0.5, RuntimeError("secret")) as address:
        answer = httpx.post(address + path, json=body)
        assert answer.status_code == 200
        data = [line[6:] for line in answer.text.split("\n") if line.startswith("data: ")]
        last = json.loads(data[-1])
        assert "RuntimeError" in str(last)
        assert "secret" not in answer.text
        assert httpx.get(f"{address}/health").status_code == 200


def test_models_are_loaded_when_asked_for_and_unloaded_when_idle():
    loads = []

    def load(source, progress=None):
        loads.append(source)
        return ds.load(source, progress=progress)

    models = LoadedModels(load, ["nano"], idle_s=3.0)
    with serving(build(models, background=models.unload_idle)) as address:
        assert models.loaded == []
        listed = httpx.get(f"{address}/v1/models").json()["data"]
        assert {"nano", "nano-ocr"} <= {model["id"] for model in listed}
        for _ in range(2):
            httpx.post(address + CHAT, json=SHORT | {"max_tokens": 3}, timeout=60)
        assert loads == ["nano"]
        wait_until(lambda: not models.loaded)
        asked = [httpx_thread(address, SHORT | {"max_tokens": 3}) for _ in range(3)]
        assert [one() for one in asked] == [200] * 3
        assert loads == ["nano", "nano"]
    models.close()


def httpx_thread(address, body):
    """A request on a thread of its own; call the result for the status."""
    statuses = []

    def ask():
        statuses.append(httpx.post(address + CHAT, json=body, timeout=60).status_code)

    thread = threading.Thread(target=ask)
    thread.start()

    def status():
        thread.join()
        return statuses[0]

    return status


def test_models_give_way_to_others_where_memory_ends(monkeypatch):
    from mlx_deepseek.runtime import memory

    most = 1  # engines
    models = LoadedModels(ds.load, ["nano", "nano-ocr"], pinned=[])
    monkeypatch.setattr(memory, "fits_beside", lambda nbytes: len(models.loaded) < most)

    async def use():
        async with models.use("nano") as first:
            assert models.loaded == ["nano"]
            with pytest.raises(ds.MemoryLimitError, match="busy or pinned"):
                async with models.use("nano-ocr"):
                    pass
            assert first.generate("1 + 1?", max_tokens=2).text is not None
        async with models.use("nano-ocr"):
            assert models.loaded == ["nano-ocr"]

    asyncio.run(use())
    models.close()
    pinned = LoadedModels(ds.load, ["nano", "nano-ocr"], pinned=["nano"])
    pinned.load("nano")
    monkeypatch.setattr(memory, "fits_beside", lambda nbytes: not pinned.loaded)

    async def ask():
        async with pinned.use("nano-ocr"):
            pass

    with pytest.raises(ds.MemoryLimitError):
        asyncio.run(ask())
    pinned.close()


def test_sigterm_lets_an_answer_end(tmp_path):
    command = [sys.executable, "-m", "mlx_deepseek.cli", "serve", "nano", "--port", "0"]
    environment = os.environ | {"MLX_DEEPSEEK_CACHE": str(tmp_path)}
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert server.stderr is not None
    address = next(word for line in server.stderr for word in line.split() if "http" in word)
    address = address.removesuffix("/v1")
    body = {**ENDLESS, "stream": True, "max_tokens": 200}
    with (
        httpx.Client(timeout=60) as client,
        client.stream("POST", address + CHAT, json=body) as one,
    ):
        lines = one.iter_lines()
        next(lines)
        server.send_signal(signal.SIGTERM)
        assert list(lines)[-2] == "data: [DONE]"
    assert server.wait(60) in (0, -signal.SIGTERM)
    log = server.stderr.read()
    assert "answer 200" in log
    assert "Traceback" not in log
    assert "Count" not in log


def test_a_lost_machine_is_no_mistake_of_the_client():
    told = understood(HostsError("localhost (rank 1) ended."))
    assert (told.status, told.code) == (503, "machine_lost")
    assert "rank 1" in told.message


def test_a_second_packet_does_not_wait_for_an_acknowledgement():
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
