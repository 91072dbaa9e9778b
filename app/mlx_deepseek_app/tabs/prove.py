"""Prove: a Lean statement, attempts as they come, and the proof that the user's Lean accepted."""

from collections.abc import AsyncIterator, Iterator, Sequence
from html import escape
from typing import Any

import gradio as gr

from mlx_deepseek.proving import Attempt, Lean, Proof, find_lean, stream_proof
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.tabs.job_tab import JobTab, Updates
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import FREE

REFRESH_S = 0.2
STATEMENT_AT_MOST = 100_000  # characters
EXAMPLE = "theorem swap (p q : Prop) : p ∧ q → q ∧ p := by"
EXAMPLES = (
    EXAMPLE,
    "theorem add_zero' (n : Nat) : 0 + n = n := by",
    "theorem even_sum (a b : Nat) (h : a % 2 = 0) (k : b % 2 = 0) : (a + b) % 2 = 0 := by",
)
METHODS = [
    ("Tactics only", "portfolio"),
    ("Whole proofs", "sample"),
    ("Tree search", "tree"),
    ("Sketches", "sketch"),
]
SHOWN = 50  # attempts, the newest first


class ProveTab(JobTab):
    """Components and handlers of the page."""

    name = "prove"
    title = "Prove"
    about = "A Lean statement in, a proof that your own Lean has accepted out."

    def __init__(self, service: ModelService) -> None:
        super().__init__(service)
        with self.frame():
            with self.asking():
                self.statement = gr.Textbox(
                    EXAMPLE,
                    label="Lean statement, with what it needs before it",
                    lines=6,
                    max_lines=24,
                    max_length=STATEMENT_AT_MOST,
                    elem_classes="pane",
                )
                with self.choosing():
                    self.method = gr.Dropdown(METHODS, value="sample", label="Method")
                    self.attempts = gr.Slider(1, 256, 32, step=1, label="Attempts at most")
                with self.choosing():
                    self.buttons("Prove")
            self.examples(EXAMPLES, self.statement)
            self.proof = gr.Code(
                label="Accepted proof", interactive=False, visible=False, elem_id="prove-proof"
            )
            self.tried = gr.HTML("", elem_id="prove-tried")
        asked = [self.statement, self.method, self.attempts]
        shown = [self.state, self.proof, self.tried, self.go, self.halt]
        self.go.click(self.on_prove, asked, shown, **FREE)

    async def on_prove(
        self, request: gr.Request, statement: str, method: str, attempts: int
    ) -> AsyncIterator[Updates]:
        """Look for a proof and show each attempt with the reason of its rejection."""
        if not statement.strip():
            yield {self.state: status.failed("Write a statement first.")}
            return

        def work(engine: Any) -> Iterator[Any]:
            lean = find_lean()
            yield lean
            yield from stream_proof(
                engine, statement, lean=lean, method=method, attempts=int(attempts)
            )

        self.on_stop(request)
        job = self.service.stream(self.owner(request), work)
        parts: list[str] = []
        tried: list[Attempt] = []
        proof: Proof | None = None
        async for buttons in self.follow(job, REFRESH_S):
            for _, event in job.take():
                if isinstance(event, Lean):
                    parts.append(lean_words(event))
                elif isinstance(event, Attempt):
                    tried.append(event)
                elif isinstance(event, Proof):
                    proof = event
            state = self.state_html(job, "Proving", parts)
            yield {
                self.state: state + (proof_html(proof) if proof else ""),
                self.proof: gr.Code(
                    proof.source if proof else "", visible=bool(proof and proof.accepted)
                ),
                self.tried: attempts_html(tried),
                **buttons,
            }


def lean_words(lean: Lean) -> str:
    """Which Lean judges, what it can import, and what confines it."""
    library = "with Mathlib" if lean.has_mathlib else "without Mathlib"
    return f"Lean {lean.version} {library}, sandbox: {lean.sandbox}"


def proof_html(proof: Proof) -> str:
    """The statement as Lean understood it, and what the proof rests on."""
    shown = f"<p>Lean reads: <code>{escape(proof.statement_shown)}</code></p>"
    if not proof.accepted:
        return shown + status.failed(f"Not proved in {len(proof.attempts)} attempts.")
    rests = ", ".join(proof.axioms) or "no axioms"
    return shown + status.said(f"Proved by {proof.method}; rests on {rests}.")


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
