"""The button Check of a block of Lean: the user's own Lean judges what the model has written."""

import asyncio
from html import escape
from typing import Any

import gradio as gr

from mlx_deepseek.errors import LeanError
from mlx_deepseek.proving import Judge, find_lean, read_theorem, rests_on
from mlx_deepseek.proving.statement import without_proof
from mlx_deepseek_app.widgets.event_options import QUIET
from mlx_deepseek_app.widgets.status import alert, said

# gradio looks in the script for the names of events, quoted
SCRIPT = "content.checks(element, watch, { submit: (data) => trigger('submit', data) });"
CODE_AT_MOST = 100_000  # characters


class LeanCheck:
    """Takes blocks of code by a number, and answers with the number and Lean's verdict."""

    def __init__(self) -> None:
        self.verdict = gr.HTML("", elem_id="lean-verdict", js_on_load=SCRIPT)
        self.verdict.submit(
            self.on_check, None, self.verdict, concurrency_limit=1, trigger_mode="multiple", **QUIET
        )

    async def on_check(self, event: gr.EventData) -> str:
        """Judge the last theorem of a block by the proof that stands in it."""
        asked: Any = event._data or {}
        code, number = str(asked.get("code", "")), int(asked.get("number", 0))
        if len(code) > CODE_AT_MOST:
            html = alert(f"{len(code):,} characters. Expected at most {CODE_AT_MOST:,}.")
        else:
            html = await asyncio.to_thread(verdict_html, code)
        return f"<div data-check='{number}'>{html}</div>"


def verdict_html(code: str) -> str:
    """Whether Lean accepts a proof, why not, and what the statement says to Lean."""
    try:
        lean = find_lean()
        with Judge(lean, read_theorem(without_proof(code))) as judge:
            verdict, shown = judge.check(code, "file"), judge.statement_shown
    except LeanError as error:
        return alert(str(error))
    if not verdict.accepted:
        return reads_html(shown) + alert(f"Lean {lean.version} rejects it: {verdict.reason}")
    return reads_html(shown) + said(f"Lean {lean.version} accepts it; {rests_on(verdict.axioms)}.")


def reads_html(statement: str) -> str:
    """A statement as Lean understood it."""
    return f"<p>Lean reads: <code>{escape(statement)}</code></p>"
