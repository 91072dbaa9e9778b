"""Replies and loads for several tabs at once, without a browser."""

import asyncio
import threading
import time
import weakref
from dataclasses import replace

import pytest

from mlx_deepseek.errors import CheckpointError
from mlx_deepseek_app.chat.replies import Replies
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.models.loads import Loads
from mlx_deepseek_app.storage.store import Store
from tests.app import scripted
from tests.waiting import wait_until

SETTINGS = PanelSettings(seed=1)


@pytest.fixture
def service():
    service = ModelService(scripted.load)
    job = service.start("scripted")
    wait_until(lambda: job.finished)
    return service


def answer(replies, tab, text, settings=SETTINGS, talk=None):
    """Say something in a new conversation, or in `talk`, and wait for the answer."""
    talk = talk or replies.new(tab)
    replies.send(talk, text, (), settings)
    wait_until(lambda: not talk.busy)
    return talk


def last(talk):
    return talk.conversation.messages[-1]


def test_several_tabs_at_once_do_not_mix(service):
    replies = Replies(service)
    texts = [f"tab {i} " * 9 for i in range(4)]
    talks = [replies.new(f"tab{i}") for i in range(4)]
    for talk, text in zip(talks, texts, strict=True):
        replies.send(talk, f"say: {text}", (), PanelSettings())
    wait_until(lambda: not any(talk.busy for talk in talks))
    assert [last(talk).text for talk in talks] == texts


def test_nobody_waits_for_anothers_endless_reply(service):
    replies = Replies(service)
    slow = replies.new("a")
    replies.send(slow, "slow", (), PanelSettings())
    assert last(answer(replies, "b", "say: hi")).text == "hi"
    assert slow.busy
    replies.stop(slow)
    wait_until(lambda: not slow.busy)
    assert last(slow).state == "stopped"


def test_closing_a_tab_ends_its_reply_where_nothing_is_kept_and_only_there(service, tmp_path):
    for store in (Store(), Store(tmp_path)):
        replies = Replies(service, store)
        talk = replies.new("a")
        replies.send(talk, "slow", (), PanelSettings())
        wait_until(lambda talk=talk: "tick" in last(talk).text)
        replies.left("a")
        if store.path is None:
            wait_until(lambda talk=talk: not talk.busy)
        else:
            assert talk.job is not None
            assert not talk.job.cancelled
            replies.stop(talk)


def test_what_is_said_meanwhile_waits_and_can_be_taken_back(service):
    replies = Replies(service)
    talk = replies.new("a")
    for text in ("slow", "say: first", "say: never", "say: second"):
        replies.send(talk, text, (), PanelSettings())
    assert [one.text for one in talk.queued] == ["say: first", "say: never", "say: second"]
    replies.unqueue(talk, talk.queued[1].id)
    replies.stop(talk)
    wait_until(lambda: not talk.busy and not talk.queued)
    texts = [message.text for message in talk.conversation.messages[2:]]
    assert texts == ["say: first", "first", "say: second", "second"]


def test_what_waits_behind_a_failure_stays_until_something_is_said(service):
    replies = Replies(service)
    talk = replies.new("a")
    for text in ("slow", "fail", "say: after"):
        replies.send(talk, text, (), PanelSettings())
    replies.stop(talk)
    wait_until(lambda: not talk.busy and last(talk).error)
    assert [one.text for one in talk.queued] == ["say: after"]
    answer(replies, "a", "say: more", talk=talk)
    wait_until(lambda: not talk.busy and not talk.queued)
    assert [message.text for message in talk.conversation.messages[-3:]] == [
        "after",
        "say: more",
        "more",
    ]


def test_a_conversation_is_one_for_all_tabs_while_it_is_answered(service, tmp_path):
    replies = Replies(service, Store(tmp_path))
    talk = replies.new("a")
    replies.send(talk, "slow", (), PanelSettings())
    assert replies.open("b", talk.conversation.id) is talk
    replies.ask(talk, lambda now: now.edit(0, "say: else"), PanelSettings())
    wait_until(lambda: not talk.busy)
    assert last(talk).text == "else"
    assert talk.conversation.version(0) == (2, 2)
    replies.delete("b", talk.conversation.id)
    assert talk.deleted
    assert replies.open("a", talk.conversation.id) is None


def test_an_error_becomes_a_readable_reply_and_the_next_one_works(service):
    replies = Replies(service)
    assert last(answer(replies, "a", "fail")).error.startswith("this prompt needs 9 GiB")
    assert last(answer(replies, "a", "say: ok")).text == "ok"


def test_settings_reach_the_engine(service):
    answer(Replies(service), "a", "hi", PanelSettings("Be kind.", False, 0.3, 0.9, 7, 99, 5))
    call = service.engine.calls[-1]
    assert call["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (call["max_tokens"], call["thinking"]) == (99, False)
    sampling = call["sampling"]
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.3, 0.9, 7, 5)


def test_a_conversation_keeps_its_cache_and_a_new_model_gets_new_ones(service):
    def cache(key):
        return service.caches.cache(key, service.engine)

    first = cache("one")
    assert cache("other") is not first
    assert cache("one") is first
    for key in "abcd":
        cache(key)
    assert cache("one") is not first
    kept = cache("one")
    service.engine.model = object()
    assert cache("one") is not kept


def test_a_cut_off_reply_goes_on_where_it_ended_and_its_seconds_add_up(service):
    replies = Replies(service)
    talk = answer(replies, "a", "say: word")
    begun = talk.conversation
    message = replace(begun.messages[-1], text="wo", state="stopped", thinking_s=2.0)
    cut = replace(begun, nodes=(*begun.nodes[:-1], message))
    replies.ask(talk, lambda _: cut.resume(), PanelSettings())
    wait_until(lambda: not talk.busy)
    assert service.engine.calls[-1]["messages"][-1]["prefix"]
    assert last(talk).text == "woEcho: wo"
    assert (last(talk).state, last(talk).thinking_s) == ("done", 2.0)


def test_the_old_model_stays_when_a_load_fails(service):
    async def load():
        loads = Loads(service)
        return [html async for html in loads.follow(loads.begin("broken"))]

    said = asyncio.run(load())[-1]
    assert "Could not load broken" in said
    assert "Download the checkpoint again" in said
    assert "scripted is still loaded" in said
    assert service.source == "scripted"


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

    service = ModelService(loader)
    wait_until(lambda: service.start("scripted").finished or service.engine)
    job = service.load("a", "large")
    assert going.wait(60)
    assert reported.wait(60)
    assert last(answer(Replies(service), "b", "say: still here")).text == "still here"
    assert job.state == ("download", 1, 4)
    service.loads.cancel("a")
    wait_until(lambda: job.finished)
    assert service.source == "scripted"


def test_without_a_model_the_reply_says_so():
    def loader(source, *, progress):
        raise CheckpointError("gone")

    service = ModelService(loader)
    assert "No model is loaded" in last(answer(Replies(service), "a", "hi")).error


class Crowded:
    """Engines of which one fits into memory at a time, and who has been let go."""

    def __init__(self, monkeypatch):
        self.there = weakref.WeakSet()
        monkeypatch.setattr("mlx_deepseek.runtime.memory.fits_beside", self.fits_beside)

    def fits_beside(self, nbytes):
        return not self.there

    def load(self, source, *, progress):
        engine = scripted.load(source, progress=progress)
        self.there.add(engine)
        return engine


def loaded(service, source):
    job = service.load("a", source)
    wait_until(lambda: job.finished)
    assert not job.error


def test_where_two_do_not_fit_the_old_model_goes_before_the_new_one_comes(monkeypatch):
    crowded = Crowded(monkeypatch)
    service = ModelService(crowded.load)
    loaded(service, "one")
    slow = service.stream("b", lambda engine: engine.stream([{"content": "slow"}]))
    wait_until(lambda: slow.started)
    loaded(service, "two")
    assert slow.cancelled
    assert [engine.name for engine in crowded.there] == ["two"]
    assert last(answer(Replies(service), "b", "say: on")).text == "on"


def test_where_two_fit_the_old_model_stays_until_the_new_one_is_there():
    there = []

    def loader(source, *, progress):
        progress("load", 0, 2)
        there.append(service.source)
        return scripted.load(source)

    service = ModelService(loader)
    loaded(service, "one")
    loaded(service, "two")
    assert there == ["", "one"]


def test_a_model_beside_the_chats_must_fit_beside_it(monkeypatch):
    service = ModelService(Crowded(monkeypatch).load)
    loaded(service, "one")
    job = service.load_beside("b", "two")
    wait_until(lambda: job.finished)
    assert "do not fit beside one" in job.error
    assert service.source == "one"


def test_unloading_stops_a_reply_and_leaves_no_model(monkeypatch):
    crowded = Crowded(monkeypatch)
    service = ModelService(crowded.load)
    loaded(service, "one")
    slow = service.stream("b", lambda engine: engine.stream([{"content": "slow"}]))
    wait_until(lambda: slow.started)
    service.unload()
    assert slow.finished
    assert not crowded.there
    assert "No model is loaded" in last(answer(Replies(service), "b", "hi")).error
