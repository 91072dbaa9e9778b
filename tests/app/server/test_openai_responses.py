"""OpenAI's responses, asked by OpenAI's own client."""

import json

import pytest

from mlx_deepseek_app.server.api.responses_items import Item, Tools, as_engine

openai = pytest.importorskip("openai")

ASKED = "What is 347 + 586?"
ADD = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}}}
MUST = {"tool_choice": "required", "parallel_tool_calls": False}


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_response(client):
    answer = client.responses.create(model="nano", input=ASKED)
    reasoning, message = answer.output
    assert reasoning.content[0].text.startswith("347+586\nones 7+6=13")
    assert message.content[0].text == answer.output_text == "933"
    assert answer.status == "completed"
    assert answer.usage.input_tokens == 17
    assert 0 < answer.usage.output_tokens_details.reasoning_tokens < answer.usage.output_tokens


def test_a_stream_says_the_same(client):
    events = list(client.responses.create(model="nano", input=ASKED, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-1] == "response.completed"
    last = events[-1].response
    assert last.output_text == "933"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "933"
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.model_dump() for item in done] == [item.model_dump() for item in last.output]


def test_an_answer_that_is_cut_off_says_so(client):
    answer = client.responses.create(model="nano", input=ASKED, max_output_tokens=3)
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_it_goes_on_from_what_is_stored(client):
    first = client.responses.create(model="nano", input=ASKED)
    told = {"model": "nano", "input": "Who are you?", "max_output_tokens": 5}
    second = client.responses.create(previous_response_id=first.id, **told)
    alone = client.responses.create(**told)
    assert second.usage.input_tokens > alone.usage.input_tokens + 10
    assert client.responses.retrieve(first.id).output_text == "933"
    listed = client.responses.input_items.list(first.id)
    assert listed.data[0].content == ASKED
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="no response"):
        client.responses.create(previous_response_id=first.id, **told)
    kept = client.responses.create(store=False, **told)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(kept.id)


@pytest.mark.parametrize("stream", [False, True])
def test_calls(client, stream):
    tools = [{"type": "function", "name": "add", "parameters": ADD}, {"type": "web_search"}]
    told = {"model": "nano", "input": ASKED, "tools": tools, **MUST}
    if stream:
        events = list(client.responses.create(stream=True, **told))
        kind = "response.function_call_arguments.delta"
        deltas = [event.delta for event in events if event.type == kind]
        answer = events[-1].response
        assert len(deltas) > 1
        assert "".join(deltas) == answer.output[-1].arguments
    else:
        answer = client.responses.create(**told)
    call = answer.output[-1]
    assert (call.type, call.name) == ("function_call", "add")
    assert set(json.loads(call.arguments)) <= {"a"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "933"}
    sent = [{"role": "user", "content": ASKED}, *(item.model_dump() for item in answer.output)]
    after = client.responses.create(model="nano", input=[*sent, result], max_output_tokens=5)
    assert after.usage.input_tokens > 17


def test_a_custom_tool_is_called_with_a_text(client):
    tools = [{"type": "custom", "name": "run", "description": "Runs."}]
    told = {"model": "nano", "input": ASKED, "tools": tools, **MUST, "max_output_tokens": 250}
    events = list(client.responses.create(stream=True, temperature=0.0, **told))
    item = events[-1].response.output[-1]
    assert (item.type, item.name) == ("custom_tool_call", "run")
    assert isinstance(item.input, str)


def test_tools_of_namespaces_and_their_calls():
    tools = Tools()
    inner = {"type": "function", "name": "go", "parameters": ADD}
    tools.add([{"type": "namespace", "name": "mcp__x", "tools": [inner]}])
    (offered,) = tools.functions
    assert offered["function"]["name"] == "mcp__x__go"
    assert tools.called("mcp__x__go") == {"name": "go", "namespace": "mcp__x"}


def test_items_of_one_turn_are_one_message():
    items = [
        {"role": "user", "content": "q"},
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "T"}], "summary": []},
        {"type": "message", "role": "assistant", "content": "said"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "g", "namespace": "n", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "R"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "U"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "done"}]},
    ]
    messages = as_engine([Item.model_validate(item) for item in items])
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1]["reasoning_content"] == "T"
    assert [call["function"]["name"] for call in messages[1]["tool_calls"]] == ["f", "n__g"]
    assert messages[3] == {"role": "assistant", "content": "done", "reasoning_content": "U"}


def test_what_it_cannot_do_is_told(client):
    for wrong in (
        {"background": True},
        {"input": [{"type": "computer_call"}]},
        {"tools": [{"type": "function"}]},
        {"tool_choice": {"type": "function", "name": "missing"}},
    ):
        with pytest.raises(openai.BadRequestError):
            client.responses.create(**{"model": "nano", "input": ASKED} | wrong)
