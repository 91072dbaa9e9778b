"""What tabs ask for: side by side or in line, stops, and errors in words."""

import logging
import threading
import time

import pytest

from mlx_deepseek.errors import MemoryLimitError
from mlx_deepseek_app.jobs.queue import Job, JobQueue, explained
from tests.waiting import wait_until

SECRET = "what nobody may read in a log"


@pytest.fixture
def jobs_queue():
    return JobQueue("test")


def noting(owner, done):
    return Job(owner, lambda job: done.append(owner))


def endless(job):
    while not job.cancelled:
        time.sleep(0.005)


def test_jobs_run_side_by_side(jobs_queue):
    both = threading.Barrier(2)

    def meet(job):
        both.wait(5)

    jobs = [jobs_queue.submit(Job(owner, meet)) for owner in "ab"]
    wait_until(lambda: all(job.finished for job in jobs))
    assert not any(job.error for job in jobs)


def test_one_at_a_time_in_order_of_arrival_and_one_that_waits_can_be_stopped():
    line, done = JobQueue("test", at_once=1), []
    first = line.submit(Job("first", endless))
    jobs = [line.submit(noting(owner, done)) for owner in ("a", "b", "c")]
    line.cancel("b")
    wait_until(lambda: jobs[1].finished)
    assert not jobs[0].started
    line.cancel("first")
    wait_until(lambda: jobs[2].finished)
    assert done == ["a", "c"]
    assert first.finished


def test_idle_jobs_wait_for_all_others_and_make_way_for_them(jobs_queue):
    first = jobs_queue.submit(Job("a", endless))
    idle = jobs_queue.submit(Job("b", endless, idle=True))
    waiting = jobs_queue.submit(Job("c", lambda job: None))
    wait_until(lambda: waiting.finished)
    assert not idle.started
    first.cancel()
    wait_until(lambda: idle.started)
    last = jobs_queue.submit(Job("d", lambda job: None))
    wait_until(lambda: idle.finished and last.finished)
    assert idle.cancelled
    assert not last.cancelled
    unused = jobs_queue.submit(Job("e", endless))
    never = jobs_queue.submit(Job("f", endless, idle=True))
    never.cancel()
    jobs_queue.close()
    assert unused.finished
    assert never.finished


def test_the_end_of_a_job_is_told_however_it_comes(jobs_queue):
    ended = []
    for run in (lambda job: None, fail(MemoryLimitError("9 GiB")), endless):
        job = jobs_queue.submit(Job("a", run, lambda job: ended.append((job.error, job.cancelled))))
        if run is endless:
            jobs_queue.close()
        wait_until(lambda job=job: job.finished)
    assert ended == [("", False), ("9 GiB", False), ("", True)]


def test_a_held_lane_stops_what_runs_and_begins_nothing(jobs_queue):
    done = []

    def stopped(job):
        endless(job)
        done.append("stopped")

    running = jobs_queue.submit(Job("a", stopped))
    wait_until(lambda: running.started)
    waiting = noting("b", done)
    with jobs_queue.paused():
        jobs_queue.submit(waiting)
        time.sleep(0.05)
        assert done == ["stopped"]
    wait_until(lambda: waiting.finished)
    assert done == ["stopped", "b"]


def fail(error):
    def run(job):
        raise error

    return run


def test_an_unexpected_error_is_shown_with_a_remedy_and_its_words_are_not_logged(
    jobs_queue, caplog
):
    with caplog.at_level(logging.DEBUG):
        job = jobs_queue.submit(Job("a", fail(ValueError(f"{SECRET}\nmore"))))
        wait_until(lambda: job.finished)
    assert job.error.startswith(f"ValueError: {SECRET}. Try again")
    assert SECRET not in caplog.text
    assert "ValueError" in caplog.text
    assert "test_queue.py" in caplog.text  # where it happened


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("[METAL] Insufficient Memory"), RuntimeError("[malloc] x")],
)
def test_a_lack_of_memory_is_told_with_what_helps(error):
    assert "choose a smaller model" in explained(error)


def test_an_error_of_ours_says_its_own_remedy():
    assert explained(MemoryLimitError("9 GiB. Shorten it.")) == "9 GiB. Shorten it."
