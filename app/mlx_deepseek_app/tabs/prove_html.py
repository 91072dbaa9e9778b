"""What the Prove page shows: Lean, attempts, the tree of goals, proofs that were accepted."""

from collections.abc import Iterable, Sequence
from html import escape
from urllib.parse import quote

from mlx_deepseek.proving import Attempt, Lean, Proof, TreeView, rests_on
from mlx_deepseek_app.chat.lean_check import reads_html
from mlx_deepseek_app.storage.proofs import KeptProof
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.markdown import code_html

SHOWN = 50  # attempts, the newest first


def lean_words(lean: Lean) -> str:
    """Which Lean judges, what it can import, and what confines it."""
    library = "with Mathlib" if lean.has_mathlib else "without Mathlib"
    return f"Lean {lean.version} {library}, sandbox: {lean.sandbox}"


def outcome_html(proof: Proof) -> str:
    """The statement as Lean understood it, and what became of it."""
    shown = reads_html(proof.statement_shown)
    if not proof.accepted:
        return shown + status.failed(f"Not proved in {len(proof.attempts)} attempts.")
    return shown + status.said(rests(proof))


def rests(proof: Proof) -> str:
    """What found a proof, and its axioms."""
    return f"Proved by {proof.method}; {rests_on(proof.axioms)}."


def source_html(source: str) -> str:
    """An accepted file, to copy or to save."""
    address = f"data:text/plain;charset=utf-8,{quote(source)}"
    save = f"<a class='app-note' download='proof.lean' href='{address}'>Save as a file</a>"
    return f"<div class='prose'>{code_html(source, 'lean')}</div>{save}"


def attempts_html(tried: Sequence[Attempt]) -> str:
    """The newest attempts, each with its reason, and its text unfolded on demand."""
    rows = "".join(
        f"<tr><th scope='row'>{attempt.number + 1}</th><td>{escape(attempt.method)}</td>"
        f"<td><details><summary>{escape(said(attempt))}</summary><pre>{escape(attempt.text)}</pre>"
        "</details></td></tr>"
        for attempt in reversed(tried[-SHOWN:])
    )
    return f"<table class='facts'>{rows}</table>" if rows else ""


def said(attempt: Attempt) -> str:
    """One line about an attempt."""
    return "accepted" if attempt.accepted else " ".join(attempt.reason.split())[:200]


def tree_html(view: TreeView | None) -> str:
    """The goals that were reached, below those that they were reached from.

    A bar is as long as the share of attempts that went through a goal.
    """
    if view is None:
        return ""
    most = max(view.branches[0].visits, 1.0)
    rows = "".join(
        f"<li style='--depth: {branch.depth}; --share: {branch.visits / most:.2f}' "
        f"title='{escape(branch.goal, quote=True)}'><code>{escape(branch.tactic or 'by')}</code>"
        f"<span>{escape(_target(branch.goal))}</span></li>"
        for branch in view.branches
    )
    more = f"<p class='app-note'>{view.left_out:,} more goals</p>" if view.left_out else ""
    return f"<h3>Goals reached</h3><ol class='goals'>{rows}</ol>{more}"


def _target(goal: str) -> str:
    """What the first of some goals wants proved, and how many there are."""
    wanted = [line[line.index("⊢") :] for line in goal.splitlines() if "⊢" in line]
    return (wanted[0] if wanted else "") + (f" +{len(wanted) - 1}" if len(wanted) > 1 else "")


def kept_html(kept: Iterable[KeptProof]) -> str:
    """Proofs of before, each unfolded on demand."""
    rows = "".join(
        f"<details><summary><code>{escape(_theorem(one.source))}</code></summary>"
        f"<p>{escape(one.rests)}</p>{source_html(one.source)}"
        f"<button type='button' class='app-note' data-remove='{one.id}'>Delete</button></details>"
        for one in kept
    )
    return f"<h3>Proved before</h3>{rows}" if rows else ""


def _theorem(source: str) -> str:
    """The line with which the last theorem begins."""
    lines = source.splitlines()
    begins = (line for line in reversed(lines) if line.startswith(("theorem ", "lemma ")))
    return next(begins, lines[0] if lines else "")[:160]
