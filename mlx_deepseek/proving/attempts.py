"""Attempts at a proof, and the journal from which a run that was killed goes on."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.verdict import Form

VERSION = 1


@dataclass(frozen=True)
class Attempt:
    """One text and what became of it.

    `method` is portfolio, sample, repair, tree or sketch; `reason` says why it was rejected;
    `seconds` is Lean's time, `tokens` the model's.
    """

    number: int
    method: str
    seed: int
    text: str
    form: Form
    accepted: bool
    reason: str = ""
    seconds: float = 0.0
    tokens: int = 0
    axioms: tuple[str, ...] = ()


class AttemptLog:
    """Attempts in a file, one JSON object a line, each on the disk before the next is begun.

    `key` is what a run is: the statement, the model, the method. Without a path nothing is kept.

    Raises:
        LeanError: the file is of another run, or is none of ours.
    """

    def __init__(self, path: Path | None, key: Mapping[str, Any], seed: int):
        self.seed = seed
        self.attempts: dict[int, Attempt] = {}
        self._file = None
        if path is None:
            return
        whole = 0
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        if path.exists():
            whole = self._read(path, digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if whole else "wb")
        self._file.seek(whole)
        self._file.truncate()  # a line that was being written when the run was killed
        if not whole:
            self._write({**key, "version": VERSION, "key": digest, "seed": self.seed})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, attempt: Attempt) -> None:
        """Keep an attempt."""
        if attempt.number not in self.attempts:
            self.attempts[attempt.number] = attempt
            self._write(asdict(attempt))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, entry: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps(entry, ensure_ascii=False)
        self._file.write(line.encode("utf-8", "surrogatepass") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, path: Path, digest: str) -> int:
        """Take what is whole; the bytes that it takes."""
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].splitlines()
        if not lines:
            return 0
        try:
            head, *entries = map(json.loads, lines)
            if head["key"] != digest or head["version"] != VERSION:
                raise LeanError(
                    f"{path}: the journal of another statement, model or method. Remove it, or "
                    "name another file."
                )
            self.seed = head["seed"]
            attempts = [Attempt(**e | {"axioms": tuple(e["axioms"])}) for e in entries]
        except (ValueError, KeyError, TypeError) as error:
            raise LeanError(f"{path}: no journal of proofs ({error}). Remove it.") from error
        self.attempts = {attempt.number: attempt for attempt in attempts}
        return whole


def rests_on(axioms: Sequence[str]) -> str:
    """What a proof rests on, in words."""
    return f"rests on {', '.join(axioms) or 'no axioms'}"


def pass_at(k: int, attempts: int, correct: int) -> float:
    """The chance that one of k of these attempts is correct (arXiv:2107.03374 §2.1, unbiased)."""
    if attempts - correct < k:
        return 1.0
    wrong = 1.0
    for i in range(k):
        wrong *= (attempts - correct - i) / (attempts - i)
    return 1.0 - wrong
