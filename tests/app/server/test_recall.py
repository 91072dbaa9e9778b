"""Calls that come back are as the model wrote them, whatever the client made of them."""

import json

import pytest

from mlx_deepseek.generation.results import Usage
from mlx_deepseek_app.server.events import CallArguments, CallBegins, End, Reasoning
from mlx_deepseek_app.server.recall import Listener, Recall
from mlx_deepseek_app.server.request import Ask

WRITTEN = '{"b":1,  "a": "\\u00e9"}'


def asked(arguments, **more):
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return Ask("m", [{"role": "assistant", "content": "", "tool_calls": [call], **more}])


@pytest.fixture
def recall() -> Recall:
    found = Recall(most=2)
    listener = Listener(found)
    pieces = [CallArguments(0, WRITTEN[:5]), CallArguments(0, WRITTEN[5:])]
    for event in [Reasoning("Hm."), CallBegins(0, "call_1", "f"), *pieces]:
        listener.saw(event)
    listener.saw(End("tool_calls", Usage()))
    return found


@pytest.mark.parametrize("sent", [json.dumps(json.loads(WRITTEN)), '{"a": "é", "b": 1}', WRITTEN])
def test_what_means_the_same_is_as_it_was_written(recall: Recall, sent: str):
    (message,) = recall.completed(asked(sent)).prompt
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": WRITTEN}
    assert message["reasoning_content"] == "Hm."


def test_what_a_client_changed_stays(recall: Recall):
    (message,) = recall.completed(asked('{"b": 2}', reasoning_content="Own.")).prompt
    assert message["tool_calls"][0]["function"]["arguments"] == '{"b": 2}'
    assert message["reasoning_content"] == "Own."


def test_old_calls_are_forgotten(recall: Recall):
    for number in (2, 3):
        listener = Listener(recall)
        listener.saw(CallBegins(0, f"call_{number}", "f"))
        listener.saw(End("tool_calls", Usage()))
    sent = asked('{"a": "é", "b": 1}')
    assert recall.completed(sent) == sent
