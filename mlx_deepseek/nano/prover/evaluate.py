"""Measures a prover on held-out statements: tactics alone, then what they leave."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mlx_deepseek.nano.prover.exercise import Exercise
from mlx_deepseek.nano.prover.families import FAMILIES, held_out
from mlx_deepseek.nano.prover.states import LIMITS
from mlx_deepseek.proving.attempts import AttemptLog, pass_at
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.policy import ModelPolicy
from mlx_deepseek.proving.pool import WorkerPool
from mlx_deepseek.proving.portfolio import try_portfolio
from mlx_deepseek.proving.session import ProofRequest, Session, Written
from mlx_deepseek.proving.statement import read_theorem
from mlx_deepseek.proving.tree import search
from mlx_deepseek.proving.verdict import Judge
from mlx_deepseek.proving.whole_proofs import sample

KS = (1, 8, 32)


@dataclass
class FamilyProofs:
    """What became of a family's statements, as sums over those that tactics left.

    `greedy` counts the proofs of the likeliest answers; `sampled[k]` is the sum of pass@k,
    `tree[k]` counts trees that found a proof within k attempts. `checks`
    different texts went to Lean while the model wrote, in `seconds` all in all.
    """

    family: str
    asked: int = 0
    by_tactics: int = 0
    greedy: int = 0
    sampled: dict[int, float] = field(default_factory=lambda: dict.fromkeys(KS, 0.0))
    tree: dict[int, int] = field(default_factory=lambda: dict.fromkeys(KS, 0))
    checks: int = 0
    seconds: float = 0.0

    @property
    def left(self) -> int:
        """Statements that tactics alone do not prove."""
        return self.asked - self.by_tactics

    def add(self, other: "FamilyProofs") -> None:
        """Take another's sums in."""
        for name in ("asked", "by_tactics", "greedy", "checks", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for k in KS:
            self.sampled[k] += other.sampled[k]
            self.tree[k] += other.tree[k]


class RowsPolicy(ModelPolicy):
    """Writes several answers at once, in the scheduler's rows."""

    def __init__(self, model: Any, batch: int, **options: Any):
        super().__init__(model, **options)
        self.batch = batch

    def write(self, requests: Sequence[ProofRequest]) -> list[Written]:
        """An answer to each request, in order."""
        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(self._written, requests))


def evaluate(
    model: Any, lean: Lean, count: int, attempts: int = max(KS), seed: int = 0
) -> Iterator[FamilyProofs]:
    """Proofs of `count` held-out statements of each family."""
    with WorkerPool(lean, LIMITS) as pool:
        for family in FAMILIES:
            found = FamilyProofs(family)
            for one in held_out(family, count):
                found.add(_measured(model, pool, one, attempts, seed))
            yield found


def _measured(
    model: Any, pool: WorkerPool, one: Exercise, attempts: int, seed: int
) -> FamilyProofs:
    theorem = read_theorem(one.context + one.statement)
    found, known = FamilyProofs(one.family, asked=1), {}
    with Judge(pool.lean, theorem, LIMITS) as judge:

        def session() -> Session:
            return Session(theorem, judge, pool, AttemptLog(None, {}, seed), known=known)

        tactics = session()
        try_portfolio(tactics)
        if tactics.accepted:
            found.by_tactics = 1
            return found
        start, before = time.monotonic(), len(known)
        likeliest, sampled, grown = session(), session(), session()
        sample(likeliest, RowsPolicy(model, 1, temperature=0.0), 1)
        sample(sampled, RowsPolicy(model, 16), attempts, every=True)
        search(grown, RowsPolicy(model, 4), attempts)
    found.seconds, found.checks = time.monotonic() - start, len(known) - before
    found.greedy = int(likeliest.accepted is not None)
    right = sum(attempt.accepted for attempt in sampled.attempts)
    for k in KS:
        found.sampled[k] = pass_at(min(k, attempts), attempts, right)
        found.tree[k] = int(any(attempt.accepted for attempt in grown.attempts[:k]))
    return found
