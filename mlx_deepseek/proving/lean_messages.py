"""What Lean says: its messages, from `lean --json` and from its server, in one shape."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "information"]
BY_NUMBER: Mapping[int, Severity] = {1: "error", 2: "warning", 3: "information", 4: "information"}
SEVERITIES = frozenset({"error", "warning", "information"})
UNSOLVED = "unsolved goals"


@dataclass(frozen=True, order=True)
class LeanMessage:
    """One message; `line` counts from 1, `column` from 0 in characters."""

    line: int
    column: int
    severity: Severity
    text: str

    @property
    def is_sorry(self) -> bool:
        """Whether it says that something is unproved (quotes differ between versions)."""
        return self.severity == "warning" and "sorry" in self.text

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.severity}: {self.text}"


def read_json_lines(output: bytes) -> tuple[list[LeanMessage], list[str]]:
    """Messages of `lean --json`, and lines that are something else."""
    messages, stray = [], []
    for line in output.decode("utf-8", errors="replace").splitlines():
        message = _of_line(line)
        if message is not None:
            messages.append(message)
        elif line.strip():
            stray.append(line)
    return messages, stray


def _of_line(line: str) -> LeanMessage | None:
    try:
        data = json.loads(line)
        severity, position = data["severity"], data["pos"]
        if severity not in SEVERITIES or not isinstance(data["data"], str):
            return None
        return LeanMessage(int(position["line"]), int(position["column"]), severity, data["data"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def read_diagnostics(diagnostics: Iterable[Mapping[str, Any]], text: str) -> list[LeanMessage]:
    """Messages of a server about a text: it counts lines from 0 and columns in UTF-16 units."""
    lines, out = text.split("\n"), []
    for diagnostic in diagnostics:
        start = diagnostic["range"]["start"]
        row = start["line"]
        column = from_utf16(lines[row] if row < len(lines) else "", start["character"])
        severity = BY_NUMBER.get(diagnostic.get("severity", 1), "information")
        out.append(LeanMessage(row + 1, column, severity, diagnostic["message"]))
    return sorted(out)


def from_utf16(line: str, units: int) -> int:
    """The characters of a line that so many UTF-16 units are."""
    return len(line.encode("utf-16-le")[: 2 * units].decode("utf-16-le", errors="ignore"))


def to_utf16(line: str, characters: int) -> int:
    """The UTF-16 units that so many characters of a line are."""
    return len(line[:characters].encode("utf-16-le")) // 2
