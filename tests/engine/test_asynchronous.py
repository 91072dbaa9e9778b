"""Streams for `async for`: the same text, closed by aclose, by cancelling, by an error."""

import asyncio

import pytest

from mlx_deepseek import PromptError, load

QUESTION = "What is 347 + 586?"


@pytest.fixture(scope="module")
def engine():
    return load("nano")


def text(completion) -> str:
    return completion.reasoning + "|" + completion.text


async def gather(stream):
    return [chunk async for chunk in stream]


def test_the_same_text(engine):
    chunks = asyncio.run(gather(engine.astream(QUESTION, max_tokens=30)))
    expected = engine.generate(QUESTION, max_tokens=30)
    assert text(engine.collect(chunks)) == text(expected)
    assert chunks[-1].finish_reason == expected.finish_reason


def test_the_same_completion(engine):
    chunks = asyncio.run(gather(engine.astream_completion("What is 3", max_tokens=9)))
    assert engine.collect(chunks).text == engine.complete("What is 3", max_tokens=9).text


def test_closing_ends_it(engine):
    async def first():
        async with engine.astream(QUESTION, max_tokens=200) as stream:
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    asyncio.run(first())


def test_cancelling_ends_it(engine):
    async def cancelled():
        stream = engine.astream(QUESTION, max_tokens=2000)
        task = asyncio.create_task(gather(stream))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    asyncio.run(cancelled())


def test_errors_come_with_the_first_chunk(engine):
    with pytest.raises(PromptError, match="no option"):
        asyncio.run(gather(engine.astream(QUESTION, colour="red")))


def test_several_prompts(engine):
    prompts = [QUESTION, [{"role": "user", "content": "hi"}], [1, 2, 3]]
    found = engine.batch(prompts, max_tokens=8)
    assert [text(one) for one in found] == [
        text(engine.generate(prompt, max_tokens=8)) for prompt in prompts
    ]
