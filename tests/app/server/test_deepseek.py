"""DeepSeek's API: its addresses, its dialect, and what is beta there."""

import json

import httpx
import pytest

openai = pytest.importorskip("openai")

ASKED = [{"role": "user", "content": "What is 347 + 586?"}]


@pytest.fixture(scope="module", params=["", "/beta"])
def client(address, request):
    with openai.OpenAI(base_url=address + request.param, api_key="none") as client:
        yield client


@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek-reasoner", "deepseek-v4-pro"])
def test_an_answer_by_the_names_of_its_models(client, model):
    answer = client.chat.completions.create(model=model, messages=ASKED)
    assert answer.model == model
    assert answer.choices[0].message.content == "933"
    assert answer.choices[0].message.reasoning_content.startswith("347+586\nones 7+6=13")


def test_its_chunks(address):
    body = {"model": "deepseek-chat", "messages": ASKED, "stream": True}
    lines = httpx.post(f"{address}/chat/completions", json=body, timeout=60).text.split("\n\n")
    assert lines[-2] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": None, "reasoning_content": ""}
    assert deltas[1]["content"] is None
    assert deltas[-1] == {"content": "", "reasoning_content": None}
    usage = chunks[-1]["usage"]
    assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == 17
    assert all("usage" not in chunk for chunk in chunks[:-1])


def test_an_answer_is_continued(client):
    begun = {"role": "assistant", "content": "The sum is 9", "prefix": True}
    answer = client.chat.completions.create(
        model="deepseek-chat", messages=[*ASKED, begun], stop=["3"], temperature=0
    )
    assert not answer.choices[0].message.content.startswith("The sum is")


def test_completions_and_their_echo(client):
    prompt = "<｜User｜>What is 347 + 586?<｜Assistant｜><think>\nones"
    told = {"model": "deepseek-chat", "prompt": prompt, "max_tokens": 8, "temperature": 0}
    plain = client.completions.create(**told).choices[0]
    assert plain.text.startswith(" 7+6=13")
    assert plain.finish_reason == "length"
    echoed = client.completions.create(**told, echo=True, logprobs=2).choices[0]
    assert echoed.text == prompt + plain.text
    assert len(echoed.logprobs.tokens) == 8
    assert echoed.logprobs.text_offset[0] == len(prompt)
    assert all(value <= 0 for value in echoed.logprobs.token_logprobs)
    assert all(len(top) <= 2 for top in echoed.logprobs.top_logprobs)
    parts = list(client.completions.create(**told, echo=True, stream=True))
    assert "".join(part.choices[0].text for part in parts) == echoed.text


def test_several_prompts_and_answers(client):
    told = {"model": "nano", "max_tokens": 4, "temperature": 1.0, "seed": 7}
    answer = client.completions.create(prompt=["one", "two"], n=2, **told)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    same = client.completions.create(prompt=["one", "two"], n=2, **told)
    assert [c.text for c in same.choices] == [c.text for c in answer.choices]


def test_tokens_as_a_prompt(client, address):
    told = httpx.post(f"{address}/tokenize", json={"prompt": "one two", "model": "nano"}).json()
    assert told["count"] == len(told["tokens"])
    text = httpx.post(f"{address}/detokenize", json={"tokens": told["tokens"]}).json()
    assert text == {"prompt": "one two"}
    options = {"model": "nano", "max_tokens": 4, "temperature": 0}
    first, second = (
        client.completions.create(prompt=prompt, **options).choices[0].text
        for prompt in ("one two", told["tokens"])
    )
    assert first == second
    for tokens in ([-1], [10**9]):
        refused = httpx.post(f"{address}/detokenize", json={"tokens": tokens})
        assert refused.status_code == 400


def test_a_gap_is_filled_only_by_models_that_can(client):
    with pytest.raises(openai.BadRequestError, match="fill"):
        client.completions.create(model="nano", prompt="a", suffix="b")


def test_the_balance(address):
    told = httpx.get(f"{address}/user/balance").json()
    assert told["is_available"]
    assert told["balance_infos"][0]["currency"] == "USD"
