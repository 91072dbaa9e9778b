"""Sessions with Lean's server, recorded once, so that tests of the protocol need no Lean.

`python tests/proving/recorded.py LEAN` records them anew.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlx_deepseek.proving.worker import Connection, LeanWorker, WorkerStoppedError

FILE = Path(__file__).parent / "data" / "worker.jsonl"
TEXTS = (
    "theorem t (p q : Prop) : p → q → p ∧ q := by\n  intro hp hq\n  constructor\n",
    "theorem t (p q : Prop) : p → q → p ∧ q := by\n  intro hp hq\n  exact ⟨hp, hq⟩\n",
    "theorem t : 1 = 1 := by\n  have 𝓝𝓝 : 1 = 2 := rfl\n  sorry\n",
    "theorem t : 1 = 1 := by\n  sorry\n",
)
URI = "file:///Search.lean"


class Recorder:
    """Passes messages on and writes them down."""

    def __init__(self, connection: Connection, lines: list[str]):
        self._connection, self._lines = connection, lines

    def send(self, message: Mapping[str, Any]) -> None:
        self._lines.append(json.dumps({"sent": message}, ensure_ascii=False))
        self._connection.send(message)

    def receive(self, deadline: float) -> dict[str, Any]:
        message = self._connection.receive(deadline)
        self._lines.append(json.dumps({"received": message}, ensure_ascii=False))
        return message

    def close(self) -> None:
        self._connection.close()


class Replay:
    """Answers as recorded, and only if asked as recorded."""

    def __init__(self, lines: list[str]):
        self._entries: Iterator[dict[str, Any]] = iter([json.loads(line) for line in lines])
        self.closed = False

    def send(self, message: Mapping[str, Any]) -> None:
        assert next(self._entries) == {"sent": json.loads(json.dumps(message))}

    def receive(self, deadline: float) -> dict[str, Any]:
        entry = next(self._entries, None)
        if entry is None or "received" not in entry:
            raise WorkerStoppedError("Lean took too long.")
        return entry["received"]

    def close(self) -> None:
        self.closed = True


def converse(worker: LeanWorker) -> list[Any]:
    """What the recorded session asks."""
    out: list[Any] = []
    for text in TEXTS:
        out.append([str(message) for message in worker.elaborate(text, 30)])
        out.append([worker.goals(line, len(text.split("\n")[line - 1]), 30) for line in (2, 3)])
    return out


def record(executable: str) -> None:
    from mlx_deepseek.proving.lean import find_lean
    from mlx_deepseek.proving.process import Limits
    from mlx_deepseek.proving.worker import PipeConnection

    lean = find_lean(executable, unsafe=True)
    limits = Limits(seconds=0.0)
    process = lean.start_worker(URI, cwd=lean.prefix, limits=limits)
    lines: list[str] = []
    worker = LeanWorker(Recorder(PipeConnection(process), lines), URI)
    for answer in converse(worker):
        print(answer)
    worker.close()
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    record(sys.argv[1])
