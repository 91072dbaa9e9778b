"""Under the hood: which experts a prompt's tokens choose, and what the cache would else cost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import gradio as gr

from mlx_deepseek.insight import cache_widths
from mlx_deepseek_app import status
from mlx_deepseek_app.events import FREE
from mlx_deepseek_app.hood_html import (
    cache_html,
    dense_html,
    drafts_html,
    routing_html,
    section,
    selection_html,
)
from mlx_deepseek_app.host import Host

REFRESH_S = 0.2
EXAMPLE = "What is 347 + 586?"
DRAFTED_TOKENS = 48


class HoodPage:
    """Components and handlers of the page."""

    def __init__(self, host: Host) -> None:
        self.host = host
        with gr.Column(elem_id="hood", elem_classes="see"):
            with gr.Row(elem_classes="see-ask"):
                self.prompt = gr.Textbox(
                    label="Prompt to look at", value=EXAMPLE, max_length=4000, elem_id="hood-prompt"
                )
                with gr.Column(elem_classes="see-choose"):
                    self.go = gr.Button("Look", variant="primary", elem_id="hood-go")
            self.shown = gr.HTML("", elem_id="hood-shown")
        for trigger in (self.go.click, self.prompt.submit):
            trigger(self.on_look, self.prompt, self.shown, **FREE)

    async def on_look(self, request: gr.Request, prompt: str) -> AsyncIterator[str]:
        """Run the prompt and show what it did."""
        if not prompt.strip():
            yield status.failed("Write a prompt first.")
            return
        owner = tab(request)
        self.host.replies.cancel(owner)
        job = self.host.stream(owner, lambda engine: look(engine, prompt))
        yield status.working("Looking", 0, 0)
        html = ""
        while not job.finished:
            await asyncio.sleep(REFRESH_S)
            for _, part in job.take():
                html += part
                yield html
        html += "".join(part for _, part in job.take())
        yield html + (status.failed(job.error) if job.error else "")

    def on_close(self, request: gr.Request) -> None:
        """The tab was closed."""
        self.host.replies.cancel(tab(request))


def tab(request: gr.Request) -> str:
    """What names a tab's looks among the host's jobs."""
    return f"hood {request.session_hash}"


def look(engine: Any, prompt: str) -> Iterator[str]:
    """Sections of HTML, as they are known."""
    yield cache_html(cache_widths(engine.model, engine.config), len(engine.model.layers))
    yield routing_html(engine.routing(prompt))
    if getattr(engine.model, "mtp", None):
        usage = engine.generate(prompt, max_tokens=DRAFTED_TOKENS).usage
        yield drafts_html(usage.drafted_tokens, usage.accepted_tokens)
    else:
        yield section("Drafted tokens", "<p>This model has no multi-token prediction layer.</p>")
    indexed = engine.config.get("index_topk")
    yield selection_html(engine.selection(prompt)) if indexed else dense_html()
