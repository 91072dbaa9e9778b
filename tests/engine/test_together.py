"""Many readers of one engine: threads and tasks at once, readers that go away, engines in turn."""

import asyncio
import threading
import time

import pytest

from mlx_deepseek import Busy, PromptError, load
from mlx_deepseek.engine.engine import Engine
from tests.waiting import wait_until

QUESTIONS = [
    "What is 347 + 586?",
    "Sort 42, 7, 93 from largest to smallest.",
    "Convert 7 hours to minutes.",
    "Reverse the word planet",
]


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load("nano")


@pytest.fixture(scope="module")
def expected(engine) -> list[str]:
    return [text(engine.generate(question, max_tokens=40)) for question in QUESTIONS]


def text(completion) -> str:
    return completion.reasoning + "|" + completion.text


def settle(engine) -> None:
    """Wait until nothing is at work; what was cancelled may take one more step."""
    wait_until(lambda: not engine.activity)


def test_threads_write_together_what_they_write_alone(engine, expected):
    found: dict[int, str] = {}
    most = [0]
    streams = [engine.stream(question, max_tokens=40) for question in QUESTIONS]

    def read(number: int) -> None:
        chunks = []
        for chunk in streams[number]:
            chunks.append(chunk)
            most[0] = max(most[0], sum(one.state == "writing" for one in engine.activity))
        found[number] = text(engine.collect(chunks))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(4)] == expected
    assert most[0] > 1  # they did run at the same time
    settle(engine)


def test_tasks_write_together_what_they_write_alone(engine, expected):
    async def all_of_them():
        async def one(question):
            return engine.collect(
                [chunk async for chunk in engine.astream(question, max_tokens=40)]
            )

        return await asyncio.gather(*map(one, QUESTIONS * 5))

    assert [text(done) for done in asyncio.run(all_of_them())] == expected * 5


def test_a_batch_is_in_order(engine, expected):
    before = engine.counts.finished
    found = engine.batch(QUESTIONS * 6, max_tokens=40)
    assert [text(one) for one in found] == expected * 6
    assert engine.counts.finished == before + 24
    assert found[0].usage.completion_tokens > 1


def test_an_answer_nobody_reads_waits(engine, expected):
    stream = engine.stream(QUESTIONS[0], max_tokens=40)
    first = next(stream)
    time.sleep(0.2)  # in which a thread of the engine's own would go on; readers drive it
    (waits,) = engine.activity
    assert waits.completion_tokens < 12
    time.sleep(0.2)
    assert engine.activity[0].completion_tokens == waits.completion_tokens
    assert text(engine.collect([first, *stream])) == expected[0]


def test_closing_from_another_thread_ends_a_reader(engine):
    stream = engine.stream(QUESTIONS[0], max_tokens=400, logit_bias={1: -100})
    ended = threading.Event()

    def read() -> None:
        for _ in stream:
            pass
        ended.set()

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: any(one.completion_tokens for one in engine.activity))
    stream.close()
    assert ended.wait(60)
    settle(engine)


def test_a_cancelled_task_frees_its_row(engine):
    async def start_and_cancel():
        stream = engine.astream(QUESTIONS[0], max_tokens=400)
        await anext(stream)
        task = asyncio.create_task(anext(stream))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(start_and_cancel())
    settle(engine)


def test_a_full_queue_is_busy(engine, monkeypatch, expected):
    scheduler = engine._dispatcher.scheduler
    monkeypatch.setattr(scheduler, "streams", 1)
    monkeypatch.setattr(scheduler, "queue", 0)
    with pytest.raises(Busy, match="Try again") as caught:
        engine.generate(QUESTIONS[0])
    assert caught.value.retry_after_s >= 1
    monkeypatch.setattr(scheduler, "queue", 1)
    assert text(engine.generate(QUESTIONS[0], max_tokens=40)) == expected[0]


def test_a_request_without_a_cache_ends_and_the_next_goes_on(engine, monkeypatch, expected):
    def broken(*_):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(engine._dispatcher.scheduler.caches, "take", broken)
        with pytest.raises(OSError, match="the disk is gone"):
            engine.generate(QUESTIONS[0], max_tokens=40)
    settle(engine)
    assert text(engine.generate(QUESTIONS[0], max_tokens=40)) == expected[0]


def test_two_engines_take_turns(engine, expected):
    other = load("nano")
    one, two = (e.stream(QUESTIONS[0], max_tokens=40) for e in (engine, other))
    chunks: tuple[list, list] = ([], [])
    ends = [False, False]
    while not all(ends):
        for i, stream in enumerate((one, two)):
            chunk = next(stream, None)
            ends[i] = chunk is None
            chunks[i].extend([] if chunk is None else [chunk])
    assert [text(engine.collect(one)) for one in chunks] == [expected[0]] * 2


def test_closing_an_engine_ends_its_readers():
    engine = load("nano")
    stream = engine.stream(QUESTIONS[0], max_tokens=400)
    next(stream)
    engine.close()
    with pytest.raises(PromptError, match="closed"):
        for _ in stream:
            pass
