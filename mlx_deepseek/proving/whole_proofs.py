"""Whole proofs, one after another: pass@k, and rounds that show the model what failed."""

from collections.abc import Iterator, Sequence

from mlx_deepseek.proving.attempts import Attempt
from mlx_deepseek.proving.session import Policy, ProofRequest, Session, Written


def sample(
    session: Session, policy: Policy, count: int, *, repair: int = 0, every: bool = False
) -> None:
    """Make `count` attempts, then `repair` ones that see a failed attempt and Lean's first error.

    It ends with the first proof, or goes on to have the numbers for pass@k (`every`).
    """
    seed = session.journal.seed
    for start in range(0, count, policy.batch):
        if done(session, every):
            return
        size = min(policy.batch, count - start)
        requests = [ProofRequest(session.theorem, seed + start + i) for i in range(size)]
        ask(session, policy, requests, "sample")
    failed = failures(session.attempts)
    for index in range(repair):
        if done(session, every):
            return
        shown = next(failed, None)
        if shown is None:
            return
        request = ProofRequest(session.theorem, seed + count + index, failed=shown)
        ask(session, policy, [request], "repair")


def done(session: Session, every: bool) -> bool:
    """Whether to make no more attempts."""
    return session.out_of_time or (session.accepted is not None and not every)


def ask(
    session: Session, policy: Policy, requests: Sequence[ProofRequest], method: str
) -> list[Attempt]:
    """The model's answers, checked; what an earlier run wrote is not asked for again."""
    return session.consider(
        write(session, policy, requests), method, [request.seed for request in requests]
    )


def write(session: Session, policy: Policy, requests: Sequence[ProofRequest]) -> list[Written]:
    """The answers to requests, as recorded where they are: the same run goes on the same way."""
    kept = session.recorded(len(requests))
    old = [Written(attempt.text, attempt.form, attempt.tokens) for attempt in kept]
    return old + (policy.write(requests[len(old) :]) if len(old) < len(requests) else [])


def failures(attempts: Sequence[Attempt]) -> Iterator[tuple[str, str]]:
    """Different failed texts of the model with Lean's reason, the newest first."""
    seen: set[str] = set()
    for attempt in reversed(attempts):
        if attempt.method != "portfolio" and not attempt.accepted and attempt.text not in seen:
            seen.add(attempt.text)
            yield attempt.text, attempt.reason
