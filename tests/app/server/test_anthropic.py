"""Anthropic's messages, asked by Anthropic's own client."""

import httpx
import pytest

anthropic = pytest.importorskip("anthropic")

ASKED = [{"role": "user", "content": "What is 347 + 586?"}]
SMALL = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}}}
MUST = {
    "tools": [{"name": "add", "input_schema": SMALL}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
}


@pytest.fixture(scope="module", params=["", "/anthropic"])
def client(address, request):
    with anthropic.Anthropic(base_url=address + request.param, api_key="none") as client:
        yield client


def ask(client, **options):
    return client.messages.create(
        **{"model": "claude-sonnet-4-5", "max_tokens": 200, "messages": ASKED} | options
    )


def test_an_answer(client):
    answer = ask(client)
    thought, text = answer.content
    assert thought.type == "thinking"
    assert thought.thinking.startswith("347+586\nones 7+6=13")
    assert thought.signature
    assert text.text == "933"
    assert answer.stop_reason == "end_turn"
    assert answer.model == "claude-sonnet-4-5"
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens == 17
    assert answer.usage.output_tokens > 3


def test_a_stream_says_the_same(client):
    with client.messages.stream(model="nano", max_tokens=200, messages=ASKED) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert final.content[1].text == "933"
    assert final.content[0].signature
    assert final.usage.output_tokens > 3
    assert final.stop_reason == "end_turn"


def test_a_tool_is_called_and_its_result_read(client):
    answer = ask(client, **MUST)
    call = answer.content[-1]
    assert answer.stop_reason == "tool_use"
    assert call.name == "add"
    assert set(call.input) <= {"a"}
    with client.messages.stream(model="nano", max_tokens=200, messages=ASKED, **MUST) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert final.content[-1].input == call.input
    assert len(parts) > 1
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "933"}
    after = [
        *ASKED,
        {"role": "assistant", "content": [block.model_dump() for block in answer.content]},
        {"role": "user", "content": [result]},
    ]
    assert ask(client, messages=after, max_tokens=5).stop_reason in ("end_turn", "max_tokens")


def test_what_ends_an_answer(client):
    answer = ask(client, stop_sequences=["carry"])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "carry")
    assert ask(client, max_tokens=3).stop_reason == "max_tokens"


def test_a_last_turn_of_the_assistant_is_continued(client):
    begun = {"role": "assistant", "content": [{"type": "thinking", "thinking": "6+6=12",
             "signature": "x"}, {"type": "text", "text": "The sum is"}]}  # fmt: skip
    answer = ask(client, messages=[*ASKED, begun], max_tokens=20)
    assert answer.content[0].type == "text"
    assert not answer.content[0].text.startswith("The sum is")


def test_tokens_are_counted(client):
    counted = client.messages.count_tokens(model="nano", messages=ASKED, system="Be brief.")
    assert counted.input_tokens > 17
    blocks = [{"type": "text", "text": f"x-anthropic-billing-header: {n}"} for n in "12"]
    blocks.append({"type": "text", "text": "Be brief."})
    same = client.messages.count_tokens(model="nano", messages=ASKED, system=blocks)
    assert same.input_tokens == counted.input_tokens


def test_errors_have_its_shape(client, address):
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        ask(client, messages=[])
    with pytest.raises(anthropic.NotFoundError, match="no model 'gpt'"):
        ask(client, model="gpt")
    file = {"type": "url", "url": "file:///etc/passwd"}
    empty = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    for source, why in ((file, "data URL"), (empty, "text model")):
        shown = [{"role": "user", "content": [{"type": "image", "source": source}]}]
        with pytest.raises(anthropic.BadRequestError, match=why):
            ask(client, messages=shown)
    error = httpx.post(f"{address}/v1/messages", json={"model": "nano"}).json()
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"
    assert "messages" in error["error"]["message"]
