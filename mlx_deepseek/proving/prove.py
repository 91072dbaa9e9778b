"""Proving one theorem: tactics first, then a model by one of three methods, Lean judging."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving import sketch, tree, whole_proofs
from mlx_deepseek.proving.attempts import Attempt, AttemptLog
from mlx_deepseek.proving.lean import Lean
from mlx_deepseek.proving.pool import WorkerPool
from mlx_deepseek.proving.portfolio import try_portfolio
from mlx_deepseek.proving.process import Limits, StopSignal
from mlx_deepseek.proving.session import Policy, Session
from mlx_deepseek.proving.statement import Theorem
from mlx_deepseek.proving.verdict import Judge, own_part

Method = Literal["portfolio", "sample", "tree", "sketch"]
METHODS: tuple[Method, ...] = ("portfolio", "sample", "tree", "sketch")


@dataclass(frozen=True)
class Search:
    """How a proof is looked for.

    `attempts` and `repair` (attempts that see a failed one) count the model's texts; `timeout_s`
    is for the whole theorem, `check_s` for one text. `every` goes on after a proof, for pass@k.
    `portfolio` tries tactics first. Without a `seed` one is drawn; `journal` is a file to go on
    from; `workers` is how many texts Lean checks at once.
    """

    method: Method = "sample"
    attempts: int = 32
    repair: int = 0
    timeout_s: float = 300.0
    check_s: float = 60.0
    memory_bytes: int = 8 << 30
    seed: int | None = None
    every: bool = False
    portfolio: bool = True
    workers: int = 1
    journal: Path | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise LeanError(f"Method {self.method!r}. Expected one of {', '.join(METHODS)}.")
        if self.attempts < 1 or self.repair < 0 or self.workers < 1:
            raise LeanError("Expected at least 1 attempt, 0 repairs and 1 worker.")


@dataclass(frozen=True)
class Proof:
    """What became of a theorem: `text` is the accepted proof, "" if there is none.

    A "body" follows `:= by`; a "file" has the theorem and what it needs. `statement_shown` is the
    statement as Lean understood it.
    """

    theorem: Theorem
    accepted: bool
    attempts: tuple[Attempt, ...]
    statement_shown: str
    lean_version: str
    seconds: float

    @property
    def found(self) -> Attempt | None:
        """The first accepted attempt."""
        return next((attempt for attempt in self.attempts if attempt.accepted), None)

    @property
    def text(self) -> str:
        """The proof alone."""
        return self.found.text if self.found else ""

    @property
    def method(self) -> str:
        """What found it: "portfolio" needed no model."""
        return self.found.method if self.found else ""

    @property
    def axioms(self) -> tuple[str, ...]:
        """What it rests on."""
        return self.found.axioms if self.found else ()

    @property
    def source(self) -> str:
        """The file that Lean accepted, to its theorem's end."""
        if self.found is None:
            return ""
        if self.found.form == "file":
            return self.theorem.before + own_part(self.text, self.theorem).strip("\n") + "\n"
        return f"{self.theorem.before}{self.theorem.statement}\n{self.text.rstrip()}\n"


def prove(
    theorem: Theorem,
    lean: Lean,
    policy: Policy | None = None,
    search: Search | None = None,
    *,
    filler: Policy | None = None,
    progress: Callable[[Attempt], None] | None = None,
    watch_tree: Callable[[tree.Node], None] | None = None,
) -> Proof:
    """Look for a proof that the judge accepts; `filler` writes the steps of sketches.

    `lean.stop` ends it from another thread.

    Raises:
        LeanError: Lean does not accept the statement, or the method needs a policy or another one.
    """
    search = search or Search()
    _check_policy(search.method, policy)
    start = time.monotonic()
    lean = replace(lean, stop=lean.stop or StopSignal())
    limits = Limits(seconds=search.check_s, resident_bytes=search.memory_bytes)
    seed = secrets.randbits(31) if search.seed is None else search.seed
    key = _key(theorem, lean, policy, search)
    with (
        Judge(lean, theorem, limits) as judge,
        WorkerPool(lean, limits, search.workers) as pool,
        AttemptLog(search.journal, key, seed) as journal,
    ):
        deadline = start + search.timeout_s
        session = Session(theorem, judge, pool, journal, deadline, search.check_s, progress)
        if search.portfolio or search.method == "portfolio":
            try_portfolio(session)
        if policy is not None and not (session.accepted and not search.every):
            _by_model(session, policy, search, filler or policy, watch_tree)
    return Proof(
        theorem,
        session.accepted is not None,
        tuple(session.attempts),
        judge.statement_shown,
        lean.version,
        time.monotonic() - start,
    )


def _by_model(
    session: Session,
    policy: Policy,
    search: Search,
    filler: Policy,
    watch: Callable[[tree.Node], None] | None,
) -> None:
    if search.method == "sample":
        whole_proofs.sample(
            session, policy, search.attempts, repair=search.repair, every=search.every
        )
    elif search.method == "tree":
        tree.search(session, policy, search.attempts, every=search.every, watch=watch)
    elif search.method == "sketch":
        sketch.prove_by_sketch(session, policy, filler, search.attempts)


def _check_policy(method: Method, policy: Policy | None) -> None:
    if method != "portfolio" and policy is None:
        raise LeanError(f"Method {method!r} needs a model. Load one, or use 'portfolio'.")
    if method == "tree" and policy is not None and not policy.completes:
        raise LeanError(
            f"{policy.name} answers in whole files; the tree needs a model that goes on with an "
            "open proof, as Prover V1 and V1.5 do. Use 'sample' or 'sketch'."
        )


def _key(theorem: Theorem, lean: Lean, policy: Policy | None, search: Search) -> dict[str, Any]:
    """What a journal is of: a run with another key is another run."""
    return {
        "statement": theorem.before + theorem.statement,
        "lean": lean.version,
        "model": policy.name if policy else None,
        "method": search.method,
        "portfolio": search.portfolio,
        "batch": policy.batch if policy else 0,
        "repair_after": search.attempts if search.repair else 0,
        "seed": search.seed,
    }
