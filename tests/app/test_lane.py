"""The queue of what tabs ask for: turns, steps aside, stops, and errors in words."""

import logging
import threading
import time

import pytest

from mlx_deepseek.errors import MemoryLimitError
from mlx_deepseek_app.lane import Job, Lane, explained
from tests.app.conftest import wait_until

SECRET = "what nobody may read in a log"


@pytest.fixture
def lane():
    return Lane("test")


def gate(lane):
    """A job of another tab that runs until the event is set."""
    open_now, began = threading.Event(), threading.Event()
    lane.submit(Job("gate", lambda job: (began.set(), open_now.wait(5))))
    assert began.wait(2)
    return open_now


def noting(owner, done, **options):
    return Job(owner, lambda job: done.append(owner), **options)


def test_tabs_take_turns_whatever_page_they_ask_from(lane):
    open_now, done = gate(lane), []
    owners = ["a", "compare a", "hood a", "b", "code b", "c"]
    jobs = [lane.submit(noting(owner, done)) for owner in owners]
    assert [lane.ahead(job) for job in jobs] == [1, 4, 6, 2, 5, 3]
    open_now.set()
    wait_until(lambda: jobs[2].finished)
    assert done == ["a", "b", "c", "compare a", "code b", "hood a"]


def test_who_comes_back_waits_no_longer_than_who_comes_first(lane):
    done = []
    for _ in range(3):
        lane.submit(noting("old", done))
    wait_until(lambda: len(done) == 3)
    open_now = gate(lane)
    lane.submit(noting("old", done))
    last = lane.submit(noting("new", done))
    open_now.set()
    wait_until(lambda: last.finished)
    assert done[3:] == ["old", "new"]


def test_a_long_job_lets_short_ones_pass_between_its_parts(lane):
    done, waiting, going = [], threading.Event(), threading.Event()

    def read(job):
        for page in range(3):
            done.append(page)
            going.set()
            waiting.wait(5)
            lane.give_way()

    reading = lane.submit(Job("documents a", read, long=True))
    assert going.wait(2)
    other = lane.submit(noting("documents b", done, long=True))
    short = lane.submit(noting("c", done))
    assert (lane.ahead(short), lane.ahead(reading)) == (2, 0)
    waiting.set()
    wait_until(lambda: other.finished)
    assert done == [0, "c", 1, 2, "documents b"]


def test_a_held_lane_stops_what_runs_and_begins_nothing(lane):
    done = []

    def endless(job):
        while not job.cancelled:
            time.sleep(0.005)
        done.append("stopped")

    running = lane.submit(Job("a", endless))
    wait_until(lambda: running.started)
    waiting = noting("b", done)
    with lane.held():
        lane.submit(waiting)
        time.sleep(0.05)
        assert done == ["stopped"]
    wait_until(lambda: waiting.finished)
    assert done == ["stopped", "b"]


def fail(error):
    def run(job):
        raise error

    return run


def test_an_unexpected_error_is_shown_with_a_remedy_and_its_words_are_not_logged(lane, caplog):
    with caplog.at_level(logging.DEBUG):
        job = lane.submit(Job("a", fail(ValueError(f"{SECRET}\nmore"))))
        wait_until(lambda: job.finished)
    assert job.error.startswith(f"ValueError: {SECRET}. Try again")
    assert SECRET not in caplog.text
    assert "ValueError" in caplog.text
    assert "test_lane.py" in caplog.text  # where it happened


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[METAL] Insufficient Memory"), RuntimeError("[malloc] x")],
)
def test_a_lack_of_memory_is_told_with_what_helps(error):
    assert "choose a smaller model" in explained(error)


def test_an_error_of_ours_says_its_own_remedy():
    assert explained(MemoryLimitError("9 GiB. Shorten it.")) == "9 GiB. Shorten it."
