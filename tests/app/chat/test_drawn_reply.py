"""`/draw ...` in a chat: the model in memory draws, and the picture is part of the conversation."""

import base64
import io

import pytest
from PIL import Image

from mlx_deepseek.image_generation.draw import read_origin
from mlx_deepseek_app.chat.replies import Replies
from mlx_deepseek_app.chat.transcript import rows
from mlx_deepseek_app.conversation.conversation import Conversation
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.storage.conversations import conversations_of
from mlx_deepseek_app.storage.store import Store
from tests.app import scripted
from tests.waiting import wait_until


def serving(source):
    service = ModelService(scripted.load)
    job = service.start(source)
    wait_until(lambda: job.finished)
    return service


def answer(service, conversation, store=None):
    replies = Replies(service, store)
    talk = replies.new("tab")
    replies.ask(talk, lambda _: conversation, PanelSettings(seed=9))
    wait_until(lambda: not talk.busy)
    return talk.conversation


@pytest.fixture(scope="module")
def painter():
    return serving("painter")


def test_the_picture_is_the_reply_and_is_kept_with_what_made_it(painter, tmp_path):
    store = Store(tmp_path)
    shown = answer(painter, Conversation().ask("/draw a red circle"), store)
    reply = shown.messages[-1]
    assert (reply.state, reply.text) == ("done", "")
    (picture,) = reply.pictures
    image = Image.open(io.BytesIO(base64.b64decode(picture.url.partition(",")[2])))
    origin = read_origin(image)
    assert origin is not None
    assert (origin.prompt, origin.seed) == ("a red circle", 9)
    assert "drawn" in str(rows(shown)[0])
    kept = conversations_of(store, "tab").open(shown.id)
    assert kept is not None
    assert kept.conversation.messages[-1].pictures == reply.pictures
    store.close()


def test_the_next_question_shows_the_model_what_it_drew(painter):
    shown = answer(painter, Conversation().ask("/draw a red circle"))
    answer(painter, shown.ask("What color is it?"))
    (message,) = painter.engine.calls[-1]["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]


def test_a_model_that_does_not_draw_answers_in_words():
    shown = answer(serving("scripted"), Conversation().ask("/draw a red circle"))
    assert shown.messages[-1].text == "Echo: /draw a red circle"
