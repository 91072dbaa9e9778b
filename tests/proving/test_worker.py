"""The protocol of Lean's server against a recorded session, and messages in both shapes."""

import os
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_deepseek.proving.lean_messages import LeanMessage, from_utf16, read_json_lines, to_utf16
from mlx_deepseek.proving.process import Limits, MiB, Process
from mlx_deepseek.proving.sandbox import Access
from mlx_deepseek.proving.worker import LeanWorker, PipeConnection, WorkerStoppedError
from tests.proving.recorded import FILE, URI, Replay, converse

LINES = FILE.read_text(encoding="utf-8").splitlines()


def test_a_recorded_session_gives_messages_and_goals():
    answers = converse(LeanWorker(Replay(LINES), URI))
    assert answers[0][0].startswith("1:42: error: unsolved goals\ncase left")
    assert answers[1][0] == "p q : Prop\nhp : p\nhq : q\n⊢ p ∧ q"
    assert answers[2:4] == [[], [answers[1][0], "no goals"]]
    # Two letters of four UTF-16 units stand before the place.
    assert answers[4][0].startswith("2:21: error: Type mismatch")
    assert answers[6] == ["1:8: warning: declaration uses `sorry`"]


def test_a_server_that_falls_silent_stops_the_worker():
    worker = LeanWorker(Replay(LINES[:6]), URI)
    with pytest.raises(WorkerStoppedError, match="too long"):
        converse(worker)


ANSWERS = {
    "endless": "import time\ntime.sleep(600)",
    "ends": "",
    "no header": "print('hello\\r\\n\\r\\n' * 9, flush=True)\ntime.sleep(600)",
    "huge": "print('Content-Length: 99999999999\\r\\n\\r', flush=True)\ntime.sleep(600)",
    "no json": "print('Content-Length: 3\\r\\n\\r\\nabc', flush=True)\ntime.sleep(600)",
}


@pytest.mark.parametrize("code", ANSWERS.values(), ids=list(ANSWERS))
def test_a_server_that_misbehaves_stops_the_worker(code: str, tmp_path: Path):
    program = f"import sys, time\nsys.stdin.buffer.read(1)\n{code}"
    process = Process(
        [os.path.realpath(sys.executable), "-IS", "-c", program],
        cwd=tmp_path,
        env={},
        limits=Limits(seconds=0, resident_bytes=500 * MiB),
        sandbox="none",
        access=Access(),
        errors=(tmp_path / "errors").open("w+b"),
    )
    connection = PipeConnection(process)
    start = time.monotonic()
    with pytest.raises(WorkerStoppedError):
        LeanWorker(connection, URI).elaborate("theorem", 1.5)
    assert time.monotonic() - start < 60  # not for as long as the server sleeps
    connection.close()


@settings(deadline=None)
@given(st.text(max_size=20), st.integers(0, 20))
def test_columns_in_utf16_come_back(line: str, column: int):
    column = min(column, len(line))
    assert from_utf16(line, to_utf16(line, column)) == column


def test_lines_of_json_are_messages_and_the_rest_is_not():
    good = b'{"severity":"error","data":"x","pos":{"line":2,"column":1},"endPos":null}'
    lines = [
        good,
        b'{"severity":"error","data":1,"pos":{"line":2,"column":1}}',
        b'{"severity":"fatal","data":"x","pos":{"line":2,"column":1}}',
        b"\xff\xfe",
        b"\x1b[2J",
        b"[" * 100_000,
        b"",
    ]
    messages, stray = read_json_lines(b"\n".join(lines))
    assert messages == [LeanMessage(2, 1, "error", "x")]
    assert len(stray) == 5
