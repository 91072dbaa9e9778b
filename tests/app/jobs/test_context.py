"""Conversations that do not fit the window: what is sent of them, and how they go on."""

import pytest

from mlx_deepseek import load
from mlx_deepseek_app.chat.replies import Replies
from mlx_deepseek_app.conversation.settings import PanelSettings
from mlx_deepseek_app.jobs.context import GOES_ON, STEP, fitted, going_on, room, summary
from mlx_deepseek_app.jobs.model_service import ModelService
from tests.app import scripted
from tests.waiting import wait_until

TURNS = 20


def said(role, text):
    return {"role": role, "content": text}


SYSTEM = said("system", "s")
MESSAGES = [
    SYSTEM,
    *(said(role, f"{role} {n}") for n in range(TURNS) for role in ("user", "assistant")),
]


def at_most(count):
    return lambda messages: len(messages) <= count


def test_the_oldest_or_the_middle_is_left_out_and_the_last_turn_stays():
    whole, none = fitted(MESSAGES, "oldest", at_most(len(MESSAGES)))
    assert (whole, none) == (MESSAGES, 0)
    left, count = fitted(MESSAGES, "oldest", at_most(33))
    assert (left, count) == ([SYSTEM, *MESSAGES[1 + 2 * STEP :]], STEP)
    left, count = fitted(MESSAGES, "middle", at_most(27))
    assert (left, count) == ([*MESSAGES[:3], *MESSAGES[3 + 4 * STEP :]], 2 * STEP)
    assert fitted(MESSAGES, "oldest", at_most(1)) == ([SYSTEM, *MESSAGES[-2:]], TURNS - 1)
    assert fitted(MESSAGES, "middle", at_most(1))[0] == [*MESSAGES[:3], *MESSAGES[-2:]]
    assert fitted(MESSAGES, "stop", at_most(1)) == (MESSAGES, 0)
    assert fitted([SYSTEM, MESSAGES[1]], "middle", at_most(1)) == ([SYSTEM, MESSAGES[1]], 0)


def test_the_answer_keeps_a_share_of_the_window():
    assert room(512, 2048) == 384
    assert room(100_000, 2048) == 97_952


@pytest.fixture(scope="module")
def nano():
    service = ModelService(load)
    job = service.start("nano")
    wait_until(lambda: job.finished)
    yield service
    service.close()


@pytest.mark.parametrize("overflow", ["oldest", "middle", "stop"])
def test_a_full_conversation_goes_on_or_stops_as_is_wished(nano, overflow):
    replies = Replies(nano)
    talk = replies.new("a")
    for number in range(20):
        message = f"What is {number} + 1? " + "Please. " * 10
        talk.put(talk.conversation.ask(message).finish())
    settings = PanelSettings(overflow=overflow, max_tokens=4)
    replies.send(talk, "What is 2 + 3?", (), settings)
    wait_until(lambda: not talk.busy)
    reply = talk.conversation.messages[-1]
    if overflow == "stop":
        assert "context window of 512" in reply.error
    else:
        assert not reply.error
        assert talk.forgotten % STEP == 0
        assert talk.forgotten > 0
        assert reply.usage is not None
        assert reply.usage.prompt_tokens <= 508


def test_a_new_conversation_knows_what_the_old_one_said():
    engine = scripted.load("scripted")
    text = "".join(chunk.text for chunk in summary(engine, MESSAGES))
    assert text.startswith("Echo: Summarize our conversation")
    first = going_on("Be brief.", "It was about bees.", ["What do bees eat?"])
    assert first == f"Be brief.\n\n{GOES_ON}\n\nIt was about bees."
    second = going_on(first, "  ", ["What do\nbees eat?", "And wasps?"])
    assert second == f"Be brief.\n\n{GOES_ON}\n\n- What do bees eat?\n- And wasps?"
