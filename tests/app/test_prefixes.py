"""What was read of a conversation is not read again: in another tab, and after a restart."""

import asyncio
from functools import partial

import pytest

from mlx_deepseek import Caching, load
from mlx_deepseek_app.chat import Replies
from mlx_deepseek_app.host import Host
from mlx_deepseek_app.session import Conversation, Settings
from mlx_deepseek_app.store import Store, prefix_folder
from tests.app.conftest import wait_until

SETTINGS = Settings(system="Be exact. " * 36, max_tokens=8)  # a block of tokens and some


@pytest.fixture
def started(tmp_path):
    """The app as the command starts it, without its page."""

    def start():
        loader = partial(load, caching=Caching(prefix_folder=prefix_folder(tmp_path)))
        host, store = Host(loader), Store(tmp_path)
        job = host.start("nano")
        wait_until(lambda: job.finished, 60)
        return Replies(host, store), store

    return start


def ask(replies, tab, talk, text):
    async def pages():
        return [page async for page in replies.answer(tab, talk.ask(text), SETTINGS)]

    talk = asyncio.run(pages())[-1].conversation
    return talk, talk.turns[-1].usage


def test_a_reopened_conversation_starts_from_its_latents(started, tmp_path):
    replies, store = started()
    talk, first = ask(replies, "a", Conversation(), "What is 1 + 2?")
    assert first.cached_tokens == 0
    ask(replies, "a", Conversation(), "Sort 3, 1.")
    opened = store.of("b").open(talk.id).conversation
    _, second = ask(replies, "b", opened, "What is 2 + 3?")
    assert second.cached_tokens > first.prompt_tokens - 8  # all but where the thinking was
    store.close()

    replies, store = started()
    opened = store.of("c").open(talk.id).conversation
    _, third = ask(replies, "c", opened, "What is 3 + 4?")
    assert third.cached_tokens >= 255  # a block from the disk, but for what the drafter must see
    assert list(prefix_folder(tmp_path).rglob("*.safetensors"))
    store.of("c").delete(talk.id)
    assert not prefix_folder(tmp_path).exists()
