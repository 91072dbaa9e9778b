"""The terminal chat: what is pasted is one message, what is no UTF-8 is answered."""

import os
import pty
import subprocess
import sys

import pytest

from mlx_deepseek.commands.chat import never, read_message

READING = """
from mlx_deepseek.commands.chat import enable_line_editing, read_message
pasted = enable_line_editing()
print(repr(read_message(input, pasted)), flush=True)
print(repr(read_message(input, pasted)), flush=True)
"""


def reader(lines):
    waiting = iter(lines)

    def read(_: str) -> str:
        line = next(waiting, None)
        if line is None:
            raise EOFError
        return line

    return read


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["one"], "one"),
        (["one\\", "two"], "one\ntwo"),
        (["one\ntwo\nthree"], "one\ntwo\nthree"),
        (["\\", "", "x"], "\n"),
        (["a\nb\\", "c"], "a\nb\nc"),
    ],
)
def test_lines_that_go_on(lines, message):
    assert read_message(reader(lines), never) == message


def test_lines_that_are_there_at_once_were_pasted():
    more = iter([True, True, False])
    assert read_message(reader(["a", "b", "c", "d"]), lambda: next(more)) == "a\nb\nc"


def test_the_end_of_the_input_ends_the_chat():
    with pytest.raises(EOFError):
        read_message(reader([]), never)


def test_a_paste_into_a_terminal_is_one_message():
    main, other = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "PYTHONUTF8": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", READING], stdin=other, stdout=other, stderr=other, env=environment
    ):
        os.close(other)
        seen = b""
        while b">>> " not in seen:
            seen += os.read(main, 4096)
        os.write(main, b"\x1b[200~def f():\n    return 1\x1b[201~\r")
        while b"return 1'" not in seen:
            seen += os.read(main, 4096)
        os.write(main, b"next\r")
        while b"'next'" not in seen:
            seen += os.read(main, 4096)
    os.close(main)
    assert b"'def f():\\n    return 1'" in seen


def test_bytes_that_are_no_text_are_answered(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mlx_deepseek.cli", "chat", "nano", "--max-tokens", "2"],
        input=b"\xff\n1+1?\n",
        capture_output=True,
        env=os.environ | {"MLX_DEEPSEEK_CACHE": str(tmp_path), "LC_ALL": "C", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert done.stdout.count(b"</think>") == 2
