"""Benchmarks of theorems as lines of JSON: miniF2F, ProofNet and files like them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.attempts import pass_at
from mlx_deepseek.proving.prove import Proof
from mlx_deepseek.proving.statement import Theorem, read_theorem

NAMES = ("name", "problem_id", "id")
STATEMENTS = ("formal_statement", "lean4_code", "formal_statement_lean4", "statement")


@dataclass(frozen=True)
class BenchmarkTheorem:
    """A theorem and the benchmark's name for it."""

    name: str
    theorem: Theorem


def read_problems(lines: Iterable[str], header: str = "") -> list[BenchmarkTheorem]:
    """Each line's theorem: its `header`, `informal_prefix` and `formal_statement`.

    Raises:
        LeanError: a line is no JSON object, or has no statement.
    """
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            statement = _first(entry, STATEMENTS)
            name = str(_first(entry, NAMES))
        except (ValueError, KeyError, TypeError) as error:
            raise LeanError(
                f"Line {number}: {error}. Expected an object with `name` and `formal_statement`."
            ) from error
        text = entry.get("header", header) + entry.get("informal_prefix", "") + statement
        problems.append(BenchmarkTheorem(name, read_theorem(text)))
    return problems


def _first(entry: Mapping[str, Any], keys: Iterable[str]) -> Any:
    for key in keys:
        if entry.get(key):
            return entry[key]
    raise KeyError(f"none of {', '.join(keys)}")


def pass_table(proofs: Iterable[Proof], ks: Iterable[int] = (1, 8, 32)) -> dict[str, float]:
    """Mean pass@k over theorems by the model's attempts, for the k that all have made.

    "portfolio" is the share that tactics alone prove; repairs do not count.
    """
    counts, alone, total = [], 0, 0
    for proof in proofs:
        total += 1
        alone += any(a.accepted and a.method == "portfolio" for a in proof.attempts)
        made = [a.accepted for a in proof.attempts if a.method in ("sample", "tree", "sketch")]
        counts.append((len(made), sum(made)))
    table = {"portfolio": alone / total if total else 0.0}
    least = min((made for made, _ in counts), default=0)
    for k in (k for k in ks if k <= least):
        table[f"pass@{k}"] = sum(pass_at(k, made, right) for made, right in counts) / len(counts)
    return table
