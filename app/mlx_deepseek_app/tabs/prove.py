"""Prove: a Lean statement, attempts as they come, and the proof that the user's Lean accepted."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import gradio as gr

from mlx_deepseek.proving import Attempt, Lean, Proof, TreeView, find_lean, stream_proof
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.storage.database import StoreError
from mlx_deepseek_app.storage.proofs import Proofs
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tabs import prove_html
from mlx_deepseek_app.tabs.job_tab import JobTab, Updates
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import FREE, QUIET, REMOVE_SCRIPT

COLOURS_SCRIPT = 'lean.dress(".lean textarea");'
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


class ProveTab(JobTab):
    """Components and handlers of the page."""

    name = "prove"
    title = "Prove"
    about = "A Lean statement in, a proof that your own Lean has accepted out."

    def __init__(self, service: ModelService, store: Store) -> None:
        super().__init__(service, store)
        with self.frame():
            with self.asking():
                self.statement = gr.Textbox(
                    EXAMPLE,
                    label="Lean statement, with what it needs before it",
                    lines=6,
                    max_lines=24,
                    max_length=STATEMENT_AT_MOST,
                    elem_classes=["pane", "lean"],
                )
                with self.choosing():
                    self.method = gr.Dropdown(METHODS, value="sample", label="Method")
                    self.attempts = gr.Slider(1, 256, 32, step=1, label="Attempts at most")
                with self.choosing():
                    self.buttons("Prove")
            self.examples(EXAMPLES, self.statement)
            self.proof = gr.HTML("", elem_id="prove-proof")
            self.tree = gr.HTML("", elem_id="prove-tree", js_on_load=COLOURS_SCRIPT)
            self.tried = gr.HTML("", elem_id="prove-tried")
            self.kept = gr.HTML("", elem_id="prove-kept", js_on_load=REMOVE_SCRIPT)
        asked = [self.statement, self.method, self.attempts]
        shown = [self.state, self.proof, self.tree, self.tried, self.kept, self.go, self.halt]
        self.kept.remove(self.on_remove, None, self.kept, queue=False, **QUIET)
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
        tree: TreeView | None = None
        first = True
        async for buttons in self.follow(job, REFRESH_S):
            news: set[type] = set()
            for _, event in job.take():
                news.add(type(event))
                if isinstance(event, Lean):
                    parts.append(prove_html.lean_words(event))
                elif isinstance(event, Attempt):
                    tried.append(event)
                elif isinstance(event, TreeView):
                    tree = event
                elif isinstance(event, Proof):
                    proof = event
            state = self.state_html(job, "Proving", parts)
            updates = {self.state: state + (prove_html.outcome_html(proof) if proof else "")}
            if first or Proof in news:
                source = proof.source if proof else ""
                updates[self.proof] = prove_html.source_html(source) if source else ""
            if first or TreeView in news:
                updates[self.tree] = prove_html.tree_html(tree)
            if first or Attempt in news:
                updates[self.tried] = prove_html.attempts_html(tried)
            first = False
            yield updates | buttons
        if proof is not None and proof.accepted:
            yield {self.kept: self._keep(request, proof)}

    def wire(self, page: gr.Blocks) -> None:
        """Show what was proved before."""
        page.load(self.on_open, None, self.kept, **FREE)

    def on_open(self, request: gr.Request) -> str:
        """What was proved before."""
        try:
            return prove_html.kept_html(self._proofs(request).entries())
        except StoreError as error:
            return status.failed(str(error))

    def on_remove(self, request: gr.Request, event: gr.EventData) -> str:
        """Forget a proof."""
        try:
            self._proofs(request).delete(str(event._data["index"]))
        except StoreError as error:
            return status.failed(str(error))
        return self.on_open(request)

    def _keep(self, request: gr.Request, proof: Proof) -> str:
        try:
            self._proofs(request).keep(proof.source, prove_html.rests(proof))
        except StoreError as error:
            return status.failed(str(error))
        return self.on_open(request)

    def _proofs(self, request: gr.Request) -> Proofs:
        return Proofs(self.store, request.session_hash or "")
