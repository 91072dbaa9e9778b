"""What was read of a conversation is not read again: in another tab, and after a restart."""

from functools import partial

import pytest

from mlx_deepseek import Caching, load
from mlx_deepseek_app.chat.replies import Replies
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.storage.store import Store, prefix_folder
from tests.waiting import wait_until

SETTINGS = PanelSettings(system="Be exact. " * 36, max_tokens=8)  # a block of tokens and some


@pytest.fixture
def started(tmp_path):
    """The app as the command starts it, without its page."""

    def start():
        loader = partial(load, caching=Caching(prefix_folder=prefix_folder(tmp_path)))
        service, store = ModelService(loader), Store(tmp_path)
        job = service.start("nano")
        wait_until(lambda: job.finished, 60)
        return Replies(service, store), store

    return start


def ask(replies, talk, text):
    replies.send(talk, text, (), SETTINGS)
    wait_until(lambda: not talk.busy)
    return talk.conversation.messages[-1].usage


def test_a_reopened_conversation_starts_from_its_latents(started, tmp_path):
    replies, store = started()
    first = ask(replies, talk := replies.new("a"), "What is 1 + 2?")
    key = talk.conversation.id
    assert first.cached_tokens == 0
    ask(replies, replies.new("a"), "Sort 3, 1.")
    second = ask(replies, replies.open("b", key), "What is 2 + 3?")
    assert second.cached_tokens > first.prompt_tokens - 8  # all but where the thinking was
    store.close()

    replies, store = started()
    third = ask(replies, replies.open("c", key), "What is 3 + 4?")
    assert third.cached_tokens >= 255  # a block from the disk, but for what the drafter must see
    assert list(prefix_folder(tmp_path).rglob("*.safetensors"))
    replies.delete("c", key)
    assert not prefix_folder(tmp_path).exists()
