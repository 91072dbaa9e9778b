"""Replies and loads for several tabs at once, without a browser."""

import asyncio
import threading
import time
import weakref
from dataclasses import replace

import pytest

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_app.chat import Replies, watch_load
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.session import Conversation, Settings
from tests.app import scripted


@pytest.fixture
def host():
    host = Host(scripted.load)
    job = host.start("scripted")
    wait_for(lambda: job.finished)
    return host


def wait_for(condition, timeout_s=5.0):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "timed out"
        time.sleep(0.005)


async def answer(replies, owner, text):
    pages = [
        page async for page in replies.answer(owner, Conversation().ask(text), Settings(seed=1))
    ]
    return pages[-1]


def test_two_tabs_at_once_do_not_mix(host):
    async def both():
        replies = Replies(host)
        return await asyncio.gather(
            *(answer(replies, f"tab{i}", "say: " + f"tab {i} " * 9) for i in range(4))
        )

    texts = [page.conversation.turns[-1].text for page in asyncio.run(both())]
    assert texts == [f"tab {i} " * 9 for i in range(4)]


def test_the_second_waits_and_is_told_so(host):
    async def scene():
        replies = Replies(host)
        slow = replies.answer("a", Conversation().ask("slow"), Settings())
        await anext(slow)
        waiting = replies.answer("b", Conversation().ask("say: hi"), Settings())
        first = await anext(waiting)
        replies.stop("a")
        last = [page async for page in slow][-1]
        done = [page async for page in waiting][-1]
        return first, last, done

    first, last, done = asyncio.run(scene())
    assert "Waiting for another reply" in first.meter
    assert last.conversation.turns[-1].state == "stopped"
    assert done.conversation.turns[-1].text == "hi"
    assert not done.busy


def test_closing_the_page_closes_the_engines_stream(host):
    async def scene():
        replies = Replies(host)
        slow = replies.answer("a", Conversation().ask("slow"), Settings())
        for _ in range(3):
            await anext(slow)
        replies.leave("a")
        return [page async for page in slow]

    assert asyncio.run(scene()) == []
    assert host.engine.closed.wait(2)


def test_an_error_becomes_a_readable_reply_and_the_next_one_works(host):
    replies = Replies(host)
    failed = asyncio.run(answer(replies, "a", "fail"))
    assert failed.conversation.turns[-1].error.startswith("this prompt needs 9 GiB")
    fine = asyncio.run(answer(replies, "a", "say: ok"))
    assert fine.conversation.turns[-1].text == "ok"


def test_settings_reach_the_engine(host):
    settings = Settings("Be kind.", False, 0.3, 0.9, 7, 99, 5)

    async def ask():
        async for _ in Replies(host).answer("a", Conversation().ask("hi"), settings):
            pass

    asyncio.run(ask())
    call = host.engine.calls[-1]
    assert call["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (call["max_tokens"], call["thinking"]) == (99, False)
    sampling = call["sampling"]
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.3, 0.9, 7, 5)


def test_a_conversation_keeps_its_cache_and_a_new_model_gets_new_ones(host):
    replies = Replies(host)

    async def ask(conversation):
        async for _ in replies.answer("a", conversation, Settings()):
            pass
        return host.engine.calls[-1]["kept"]

    one, other = Conversation(id="one").ask("say: x"), Conversation(id="other").ask("say: x")
    first = asyncio.run(ask(one))
    assert asyncio.run(ask(other)) is not first
    assert asyncio.run(ask(one)) is first
    host.engine.model = object()
    assert asyncio.run(ask(one)) is not first


def test_a_cut_off_reply_goes_on_where_it_ended_and_its_seconds_add_up(host):
    begun = asyncio.run(answer(Replies(host), "a", "say: word")).conversation
    turn = replace(begun.turns[-1], text="wo", state="stopped", thinking_s=2.0)
    cut = replace(begun, nodes=(*begun.nodes[:-1], turn))

    async def resume():
        return [page async for page in Replies(host).answer("a", cut.resume(), Settings())]

    whole = asyncio.run(resume())[-1].conversation.turns[-1]
    assert host.engine.calls[-1]["messages"][-1]["prefix"]
    assert whole.text == "woEcho: wo"
    assert (whole.state, whole.thinking_s) == ("done", 2.0)


def test_the_old_model_stays_when_a_load_fails(host):
    async def load():
        job = host.load("a", "broken")
        return [html async for html in watch_load(host, job, "broken")]

    last = asyncio.run(load())[-1]
    assert "Could not load broken" in last
    assert "Download the checkpoint again" in last
    assert "scripted is still loaded" in last
    assert host.source == "scripted"


def test_a_load_neither_blocks_replies_nor_survives_cancelling():
    going, reported = threading.Event(), threading.Event()

    def loader(source, *, progress):
        if source == "large":
            going.set()
            while True:
                progress("download", 1, 4)
                reported.set()
                time.sleep(0.005)
        return scripted.load(source)

    host = Host(loader)
    wait_for(lambda: host.start("scripted").finished or host.engine)
    job = host.load("a", "large")
    assert going.wait(2)
    assert reported.wait(2)
    page = asyncio.run(answer(Replies(host), "b", "say: still here"))
    assert page.conversation.turns[-1].text == "still here"
    assert job.state == ("download", 1, 4)
    host.loads.cancel("a")
    wait_for(lambda: job.finished)
    assert host.source == "scripted"


def test_without_a_model_the_reply_says_so():
    def loader(source, *, progress):
        raise CheckpointError("gone")

    host = Host(loader)
    page = asyncio.run(answer(Replies(host), "a", "hi"))
    assert "No model is loaded" in page.conversation.turns[-1].error


class Crowded:
    """Engines of which one fits into memory at a time, and who has been let go."""

    def __init__(self, monkeypatch):
        self.there = weakref.WeakSet()
        monkeypatch.setattr("mlx_deepseek.memory.fits_beside", self.fits_beside)

    def fits_beside(self, nbytes):
        return not self.there

    def load(self, source, *, progress):
        engine = scripted.load(source, progress=progress)
        self.there.add(engine)
        return engine


def loaded(host, source):
    job = host.load("a", source)
    wait_for(lambda: job.finished)
    assert not job.error


def test_where_two_do_not_fit_the_old_model_goes_before_the_new_one_comes(monkeypatch):
    crowded = Crowded(monkeypatch)
    host = Host(crowded.load)
    loaded(host, "one")
    host.kept.cache("talk", host.engine)
    slow = host.stream("b", lambda engine: engine.stream([{"content": "slow"}]))
    wait_for(lambda: slow.started)
    loaded(host, "two")
    assert slow.cancelled
    assert [engine.name for engine in crowded.there] == ["two"]
    fine = asyncio.run(answer(Replies(host), "b", "say: on"))
    assert fine.conversation.turns[-1].text == "on"


def test_where_two_fit_the_old_model_stays_until_the_new_one_is_there():
    there = []

    def loader(source, *, progress):
        progress("load", 0, 2)
        there.append(host.source)
        return scripted.load(source)

    host = Host(loader)
    loaded(host, "one")
    loaded(host, "two")
    assert there == ["", "one"]


def test_a_model_beside_the_chats_must_fit_beside_it(monkeypatch):
    host = Host(Crowded(monkeypatch).load)
    loaded(host, "one")
    job = host.borrow("b", "two")
    wait_for(lambda: job.finished)
    assert "do not fit beside one" in job.error
    assert host.source == "one"


def test_unloading_stops_a_reply_and_leaves_no_model(monkeypatch):
    crowded = Crowded(monkeypatch)
    host = Host(crowded.load)
    loaded(host, "one")
    slow = host.stream("b", lambda engine: engine.stream([{"content": "slow"}]))
    wait_for(lambda: slow.started)
    host.unload()
    assert slow.finished
    assert not crowded.there
    page = asyncio.run(answer(Replies(host), "b", "hi"))
    assert "No model is loaded" in page.conversation.turns[-1].error
