"""Runs a checkpoint's chat template, which is a program of its author's, in a process of its own.

A template may loop for ever or ask for all memory; here it can do neither. The process reads a JSON
line for each prompt and answers with one. It starts with the first prompt and ends with ours.
"""

import atexit
import json
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mlx_deepseek.errors import PromptError

# Generous: the longest published template takes milliseconds.
TIMEOUT_S, STARTING_S = 10.0, 60.0
OUTPUT_BYTES = 256 << 20
MEMORY_BYTES = 1 << 30
SANDBOX = Path(__file__).with_name("template_sandbox.py")


class TemplateProcess:
    """One process for all templates; after a failure the next prompt starts another."""

    def __init__(self, timeout_s: float = TIMEOUT_S):
        self.timeout_s = timeout_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def render(self, source: str, variables: Mapping[str, Any]) -> str:
        """What a template gives.

        Raises:
            PromptError: it fails, takes too long, or asks for too much memory.
        """
        asked = {"source": source, "variables": variables}
        line = json.dumps(asked, default=str).encode() + b"\n"
        with self._lock:
            answer = self._ask(line)
        if answer is None:
            raise PromptError(
                "The checkpoint's chat template does not end, or asks for too much memory: it was "
                f"stopped. Expected a prompt within {self.timeout_s:g} s. Ask the template's "
                "author, or load the model the checkpoint was made of."
            )
        if "error" in answer:
            raise PromptError(
                f"The checkpoint's chat template cannot render these messages: {answer['error']}."
            )
        return answer["text"]

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            process.communicate()

    def _ask(self, line: bytes) -> dict[str, Any] | None:
        """The process's answer; None where there is none in time."""
        try:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.flush()
            answer = self._line(self.timeout_s)
            return json.loads(answer) if answer else self.close()
        except (OSError, ValueError):
            return self.close()

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, "-P", str(SANDBOX), str(MEMORY_BYTES)]
            environment = {"PYTHONPATH": ":".join(filter(None, sys.path)), "PYTHONUTF8": "1"}
            pipe, none = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=none, env=environment, bufsize=0
            )
            if self._line(STARTING_S) != b"ready\n":
                raise OSError("The process for chat templates does not start.")
        return self._process

    def _line(self, timeout_s: float) -> bytes:
        """What the process writes until the end of a line; nothing where it writes none."""
        assert self._process is not None
        assert self._process.stdout is not None
        pipe, parts = self._process.stdout, bytearray()
        while not parts.endswith(b"\n"):
            if not select.select([pipe], [], [], timeout_s)[0]:
                return b""
            new = pipe.read(1 << 20)
            parts += new
            if not new or len(parts) > OUTPUT_BYTES:
                return b""
        return bytes(parts)


@cache
def shared_process() -> TemplateProcess:
    """The one of this program."""
    process = TemplateProcess()
    atexit.register(process.close)
    return process
