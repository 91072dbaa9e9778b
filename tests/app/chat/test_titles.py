"""Titles that the model writes: when it is idle, and never over one that somebody gave."""

import asyncio
from types import SimpleNamespace

import pytest
from playwright.sync_api import expect

from mlx_deepseek import catalog, prompts
from mlx_deepseek_app.chat.replies import Replies
from mlx_deepseek_app.chat.titles import ASK, as_title
from mlx_deepseek_app.jobs.model_info import facts
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.jobs.served_model import ServedModel
from mlx_deepseek_app.storage.conversations import conversations_of
from mlx_deepseek_app.storage.options import TITLES, Options
from mlx_deepseek_app.storage.store import Store
from tests.app.chat.test_replies import answer
from tests.app.scripted import ScriptedEngine
from tests.app.test_browser import ASKED, ask, idle
from tests.waiting import wait_until

CHAT = SimpleNamespace(thinking="optional", supports_tools=True, supports_chat=True)
LARGE = SimpleNamespace(params_total=7 * 10**9, skills=(), sampling=None)


class Namer(ScriptedEngine):
    """Answers `title` when it is asked for one."""

    title = 'say: "Whales at sea."'

    def _written(self, messages, **options):
        titled = messages[-1]["content"].startswith(ASK)
        told = [{"role": "user", "content": self.title}] if titled else messages
        return super()._written(told, **options)

    @property
    def titles_asked(self):
        return [call for call in self.calls if call.get("max_tokens") == 24]


def large():
    return Namer("large", entry=LARGE, prompt_format=CHAT)


@pytest.fixture
def engine():
    return large()


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def replies(engine, store):
    service = ModelService(lambda source, **_: engine)
    service.engine, service.source = engine, "large"
    return Replies(service, store)


def titling(replies):
    """The job that writes a title, once there is one."""
    found = []
    wait_until(lambda: found.extend(one for one in replies._service.replies.running if one.idle)
               or found)  # fmt: skip
    return found[0]


def titles(store):
    return [entry.title for entry in conversations_of(store, "a").entries()]


def test_a_title_is_written_after_the_first_answer(replies, store, engine):
    answer(replies, "a", "say: hello")
    wait_until(lambda: titles(store) == ["Whales at sea"])
    assert engine.titles_asked[0]["thinking"] is False
    talk = replies.open("a", conversations_of(store, "a").entries()[0].id)
    answer(replies, "a", "say: more", talk=talk)
    assert titles(store) == ["Whales at sea"]
    # what was deleted does not live on in a title that nobody chose
    replies.change(talk, lambda now: now.delete(0), type(conversations_of(store, "a")).rewrite)
    assert titles(store) == ["say: more"]


def test_a_question_ends_it_and_the_next_answer_has_it_written(replies, store, engine):
    engine.title = "slow"
    talk = answer(replies, "a", "say: one")
    job = titling(replies)
    wait_until(lambda: job.started)
    engine.title = "say: Second try"
    answer(replies, "a", "say: two", talk=talk)
    wait_until(lambda: job.finished)
    assert job.cancelled
    wait_until(lambda: titles(store) == ["Second try"])


def test_it_waits_for_others_and_leaves_a_title_that_somebody_gave(replies, store, engine):
    slow = replies.new("b")
    replies.send(slow, "slow", (), slow.settings)
    talk = answer(replies, "a", "say: one")
    job = titling(replies)
    assert not job.started
    conversations_of(store, "a").rename(talk.conversation.id, "Mine")
    replies.stop(slow)
    wait_until(lambda: job.finished)
    assert engine.titles_asked
    assert titles(store) == ["Mine"]


def test_it_can_be_turned_off_and_bad_titles_are_none(replies, store, engine):
    Options(store, "a").choose(TITLES, False)
    answer(replies, "a", "say: one")
    wait_until(lambda: not replies._service.replies.running)
    assert not engine.titles_asked
    Options(store, "a").choose(TITLES, True)
    engine.title = "say: " + "word " * 30
    answer(replies, "a", "say: two")
    wait_until(lambda: engine.titles_asked and not replies._service.replies.running)
    assert titles(store) == ["say: two", "say: one"]


def test_a_request_to_the_api_ends_it_too(replies, engine):
    async def ask_api():
        async with ServedModel(replies._service).use("large") as asked:
            assert asked is engine

    engine.title = "slow"
    answer(replies, "a", "say: one")
    job = titling(replies)
    wait_until(lambda: job.started)
    asyncio.run(ask_api())
    wait_until(lambda: job.finished)
    assert job.cancelled


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ("Title: **Bees and flowers**\nMore", "Bees and flowers"),
        ("  “海里的鲸鱼。”", "海里的鲸鱼"),
        ("\n", ""),
        ("one two three four five six seven eight nine ten eleven twelve thirteen", ""),
    ],
)
def test_what_a_model_writes_becomes_one_line(said, title):
    assert as_title(said) == title


def test_only_models_that_can_are_asked():
    def able(name):
        entry = catalog.find(name)
        style = prompts.get(entry.prompt_format or "plain_text")
        return facts(ScriptedEngine(entry=entry, prompt_format=style)).titles

    assert able("deepseek-ai/DeepSeek-V2-Lite-Chat")
    assert able("deepseek-ai/DeepSeek-V3.1")
    for name in ("DeepSeek-V2-Lite", "DeepSeek-OCR", "DeepSeek-R1", "DeepSeek-Prover-V2-7B"):
        assert not able(f"deepseek-ai/{name}"), name
    assert not facts(ScriptedEngine(prompt_format=CHAT)).titles  # nano: of no known size


@pytest.mark.browser
def test_the_list_shows_the_title_and_settings_turn_it_off(site, open_page):
    site.service.engine = large()
    page = open_page(site)
    ask(page, "say: hello")
    idle(page)
    line = page.locator("#conversations li [data-act=open]")
    expect(line).to_have_text("Whales at sea")
    page.locator("#settings-button").click()
    page.get_by_label("Let the model write titles").uncheck()
    page.locator("#new-button").click()
    expect(page.locator(ASKED)).to_have_count(0)
    ask(page, "say: again")
    idle(page)
    expect(line.first).to_have_text("say: again")
    assert len(site.service.engine.titles_asked) == 1
