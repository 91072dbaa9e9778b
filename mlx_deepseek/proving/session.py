"""One theorem being proved: each text is filtered, checked quickly, judged if it seems right."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving.attempts import Attempt, AttemptLog
from mlx_deepseek.proving.lean_messages import LeanMessage
from mlx_deepseek.proving.pool import WorkerPool
from mlx_deepseek.proving.statement import Theorem
from mlx_deepseek.proving.text_filter import refusal
from mlx_deepseek.proving.verdict import Form, Judge, own_part
from mlx_deepseek.proving.worker import LeanWorker, WorkerStoppedError


@dataclass(frozen=True)
class ProofRequest:
    """What a model is asked for: a proof of the theorem, continuing `body` if there is one.

    `goal` is the goals after the body, `failed` an attempt and Lean's first error about it;
    `sketch` asks for `have … := by sorry` steps.
    """

    theorem: Theorem
    seed: int
    body: str = ""
    goal: str = ""
    failed: tuple[str, str] | None = None
    sketch: bool = False


@dataclass(frozen=True)
class Written:
    """A model's answer; a "body" begins with that of the request."""

    text: str
    form: Form = "body"
    tokens: int = 0


class Policy(Protocol):
    """What writes proofs. `completes`: it continues an open proof, tactic by tactic."""

    name: str
    completes: bool
    batch: int

    def write(self, requests: Sequence[ProofRequest]) -> list[Written]:
        """An answer to each request."""
        ...


@dataclass(frozen=True)
class Checked:
    """What a worker said of a text; lines of messages count from the proof's first."""

    messages: tuple[LeanMessage, ...] = ()
    reason: str = ""
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether it seems to be a proof."""
        return not self.reason


@dataclass
class Session:
    """Checks, judges and records attempts at one theorem.

    `known` are texts that were judged before; sessions of one theorem may share them.
    """

    theorem: Theorem
    judge: Judge
    pool: WorkerPool
    journal: AttemptLog
    deadline: float = float("inf")
    check_s: float = 60.0
    progress: Callable[[Attempt], None] | None = None
    attempts: list[Attempt] = field(default_factory=list)
    known: dict[tuple[Form, str], Attempt] = field(default_factory=dict)

    @property
    def out_of_time(self) -> bool:
        """Whether the time for the theorem is used up, or somebody stopped it."""
        stop = self.pool.lean.stop
        return time.monotonic() >= self.deadline or (stop is not None and stop.is_set)

    @property
    def accepted(self) -> Attempt | None:
        """The first proof."""
        return next((attempt for attempt in self.attempts if attempt.accepted), None)

    def recorded(self, count: int) -> list[Attempt]:
        """The next attempts as an earlier run wrote them; fewer than `count`, or none."""
        start, kept = len(self.attempts), self.journal.attempts
        numbers = range(start, start + count)
        return [kept[number] for number in numbers if number in kept]

    def consider(
        self, written: Sequence[Written], method: str, seeds: Sequence[int]
    ) -> list[Attempt]:
        """Check texts side by side, in order of number; a text seen before is not checked again."""
        first = len(self.attempts)
        for number, one in enumerate(written, start=first):
            kept = self.journal.attempts.get(number)
            if kept is not None and kept.text == one.text and not kept.accepted:
                self.known.setdefault((one.form, one.text), kept)  # proofs are judged again
        fresh: dict[tuple[Form, str], Written] = {
            (w.form, w.text): w for w in written if (w.form, w.text) not in self.known
        }
        with ThreadPoolExecutor(max(1, min(self.pool.size, len(fresh)))) as threads:
            try:
                verdicts = list(threads.map(self._attempt, fresh.values()))
            except BaseException:  # an interrupt: threads would wait for Lean
                if self.pool.lean.stop is not None:
                    self.pool.lean.stop.stop()
                raise
        self.known |= dict(zip(fresh, verdicts, strict=True))
        out = []
        for index, (one, seed) in enumerate(zip(written, seeds, strict=True)):
            known = self.known[one.form, one.text]
            attempt = replace(
                known, number=first + index, method=method, seed=seed, tokens=one.tokens
            )
            if self.out_of_time and not attempt.accepted:
                break  # cut short: a later run tries it again
            out.append(attempt)
            self.attempts.append(attempt)
            self.journal.add(attempt)
            if self.progress is not None:
                self.progress(attempt)
        return out

    def check(self, text: str, form: Form = "body", *, sketch: bool = False) -> Checked:
        """What a worker says of a text; a `sketch` may hold `sorry`."""
        with_worker = self.checked_by(text, form, sketch=sketch)
        return with_worker[0]

    def checked_by(
        self,
        text: str,
        form: Form = "body",
        *,
        sketch: bool = False,
        then: Callable[[LeanWorker, Checked, int], object] | None = None,
    ) -> tuple[Checked, object]:
        """As `check`; `then` may ask the worker more, and is told the lines before the proof."""
        start = time.monotonic()
        try:
            document, lines = self._document(text, form)
        except LeanError as error:
            return Checked(reason=str(error)), None
        if reason := refusal(text, body=form == "body", sketch=sketch):
            return Checked(reason=reason), None
        seconds = min(self.check_s, max(0.1, self.deadline - start))
        try:
            with self.pool.worker(self.theorem.imports) as worker:
                found = worker.elaborate(document, seconds)
                messages = tuple(
                    LeanMessage(m.line - lines, m.column, m.severity, m.text) for m in found
                )
                before = self.theorem.before.count("\n") - lines  # where others may use sorry
                own = [m for m in messages if m.line > before]
                checked = Checked(messages, _reason(own, sketch), time.monotonic() - start)
                return checked, then(worker, checked, lines) if then else None
        except WorkerStoppedError as error:
            return Checked(reason=str(error), seconds=time.monotonic() - start), None

    def _attempt(self, written: Written) -> Attempt:
        checked = self.check(written.text, written.form)
        accepted, reason, axioms, seconds = False, checked.reason, (), checked.seconds
        if checked.complete:
            verdict = self.judge.check(written.text, written.form)
            accepted, reason, axioms = verdict.accepted, verdict.reason, verdict.axioms
            seconds += verdict.seconds
        form, text = written.form, written.text
        return Attempt(0, "", 0, text, form, accepted, reason, seconds, axioms=axioms)

    def _document(self, text: str, form: Form) -> tuple[str, int]:
        """The whole file for a worker, and its lines before the proof."""
        before = self.theorem.before
        if form == "file":
            text = own_part(text, self.theorem)
        else:
            before += self.theorem.statement + "\n"
        return f"{before}{text}\n", before.count("\n")


def _reason(messages: Sequence[LeanMessage], sketch: bool) -> str:
    wrong = next((m for m in messages if m.severity == "error"), None)
    if wrong is not None:
        return wrong.text
    return "It uses sorry." if not sketch and any(m.is_sorry for m in messages) else ""
