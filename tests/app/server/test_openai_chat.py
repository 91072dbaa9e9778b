"""OpenAI's chat completions, asked by OpenAI's own client."""

import json

import httpx
import pytest

openai = pytest.importorskip("openai")

ASKED = [{"role": "user", "content": "What is 347 + 586?"}]


@pytest.fixture(scope="module")
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_an_answer(client):
    answer = client.chat.completions.create(model="nano", messages=ASKED)
    choice = answer.choices[0]
    assert choice.message.content == "933"
    assert choice.message.reasoning_content.startswith("347+586\nones 7+6=13")
    assert choice.finish_reason == "stop"
    usage = answer.usage
    assert usage.prompt_tokens == 17
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    hit, missed = usage.prompt_cache_hit_tokens, usage.prompt_cache_miss_tokens
    assert hit + missed == usage.prompt_tokens


def test_a_stream_says_the_same(client):
    chunks = list(
        client.chat.completions.create(
            model="nano", messages=ASKED, stream=True, stream_options={"include_usage": True}
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == "933"
    thought = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thought.startswith("347+586\nones 7+6=13")
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_models(client):
    assert next(model.id for model in client.models.list()) == "nano"
    assert client.models.retrieve("deepseek-chat").id == "nano"
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.models.retrieve("gpt")


ADD = {"type": "object", "properties": {"a": {"type": "integer", "maximum": 99, "minimum": 0}}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": ADD}}]
MUST = {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}


def test_calls_come_in_pieces_and_whole(client):
    answer = client.chat.completions.create(model="nano", messages=ASKED, **MUST)
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "add"
    assert set(json.loads(call.function.arguments)) <= {"a"}
    chunks = list(client.chat.completions.create(model="nano", messages=ASKED, stream=True, **MUST))
    parts = [part for c in chunks for part in c.choices[0].delta.tool_calls or ()]
    assert parts[0].function.name == "add"
    assert parts[0].id
    assert all(part.id is None and part.function.name is None for part in parts[1:])
    assert "".join(part.function.arguments for part in parts) == call.function.arguments
    assert len(parts) > 2
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_what_a_prompt_shares_is_not_read_again_and_told(client, address):
    asked = [{"role": "user", "content": "Sort 42, 7, 93, 18."}]
    client.chat.completions.create(model="nano", messages=asked)
    again = client.chat.completions.create(model="nano", messages=asked)
    assert again.usage.prompt_tokens_details.cached_tokens > 5
    told = httpx.get(f"{address}/v1/cache").json()
    newest = told["models"]["nano"]["records"][-1]
    assert newest["cached_tokens"] == again.usage.prompt_tokens_details.cached_tokens
    assert newest["source"]
    assert told["requests"][0]["cached_tokens"] == newest["cached_tokens"]


def test_json_of_a_schema(client):
    schema = {
        "type": "object",
        "properties": {"total": {"type": "integer", "minimum": 0, "maximum": 2000}},
        "required": ["total"],
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema}}
    answer = client.chat.completions.create(model="nano", messages=ASKED, response_format=wanted)
    assert 0 <= json.loads(answer.choices[0].message.content)["total"] <= 2000
    with pytest.raises(openai.BadRequestError, match="schema"):
        client.chat.completions.create(
            model="nano", messages=ASKED, response_format={"type": "json_schema"}
        )


def test_several_answers_from_one_seed_with_logprobs(client):
    told = {"model": "nano", "messages": ASKED, "n": 3, "seed": 5, "temperature": 1.0}
    told |= {"logprobs": True, "top_logprobs": 2, "max_tokens": 60}
    first, second = (client.chat.completions.create(**told) for _ in range(2))
    texts = [[c.message.content for c in answer.choices] for answer in (first, second)]
    assert texts[0] == texts[1]
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    tokens = first.choices[0].logprobs.content
    assert "".join(token.token for token in tokens).strip() == first.choices[0].message.content
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)
    assert first.usage.completion_tokens > second.usage.completion_tokens // 2
    chunks = list(client.chat.completions.create(stream=True, **told))
    for number, choice in enumerate(first.choices):
        said = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == number]
        assert "".join(one.delta.content or "" for one in said) == choice.message.content


def test_a_stop_string_ends_an_answer(client):
    answer = client.chat.completions.create(model="nano", messages=ASKED, stop=["carry"])
    assert answer.choices[0].finish_reason == "stop"
    assert "carry" not in answer.choices[0].message.reasoning_content
