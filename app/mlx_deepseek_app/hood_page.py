"""Under the hood: which experts a prompt's tokens choose, and what the cache would else cost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from html import escape
from typing import Any

import gradio as gr

from mlx_deepseek.insight import GQA_GROUPS, CacheWidths, Routing, cache_widths
from mlx_deepseek_app import status
from mlx_deepseek_app.events import FREE
from mlx_deepseek_app.host import Host

REFRESH_S = 0.2
EXAMPLE = "What is 347 + 586?"
DRAFTED_TOKENS = 48
CELL, GAP, LEFT, TOP = 14, 2, 70, 22  # of the heat map, in units of its picture


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
    topk = engine.config.get("index_topk")
    says = (
        f"Each token attends to the {topk:,} earlier ones that the lightning indexer chooses."
        if topk
        else "This model attends to all earlier tokens: it has no indexer."
    )
    yield section("Sparse attention", f"<p>{says}</p>")


def section(title: str, html: str) -> str:
    """A part of the page."""
    return f'<section class="hood"><h3>{escape(title)}</h3>{html}</section>'


def cache_html(widths: CacheWidths, layers: int) -> str:
    """Bars of bytes that a token takes in a 16-bit cache."""
    rows = [("This model", widths.used)]
    if widths.gqa < widths.mha:
        rows.append((f"Grouped queries ({GQA_GROUPS} groups)", widths.gqa))
    rows.append(("All heads (MHA)", widths.mha))
    most = max(number for _, number in rows)
    bars = "".join(
        f"<tr><th scope='row'>{name}</th><td><span class='bar' style='width:{100 * n / most:.1f}%'>"
        f"</span></td><td>{2 * n:,} bytes</td></tr>"
        for name, n in rows
    )
    return section(
        f"Cache for one token, {layers} layers, 16 bits", f"<table class='bars'>{bars}</table>"
    )


def routing_html(routing: Routing) -> str:
    """A heat map of experts by layer, and how even each layer is."""
    if not routing.layers:
        return section("Experts", "<p>This model is dense: every token uses all of it.</p>")
    layers, experts = routing.counts.shape
    width, height = LEFT + experts * (CELL + GAP), TOP + layers * (CELL + GAP)
    most = max(int(routing.counts.max()), 1)
    cells = "".join(
        f'<rect x="{LEFT + e * (CELL + GAP)}" y="{TOP + m * (CELL + GAP)}" width="{CELL}" '
        f'height="{CELL}" rx="2" fill-opacity="{0.06 + 0.94 * count / most:.2f}">'
        f"<title>layer {routing.layers[m]}, expert {e}: {count} of {routing.tokens} tokens</title>"
        "</rect>"
        for m, row in enumerate(routing.counts)
        for e, count in enumerate(map(int, row))
    )
    names = "".join(
        f'<text x="{LEFT - 8}" y="{TOP + m * (CELL + GAP) + CELL - 3}" text-anchor="end">'
        f"layer {layer}</text>"
        for m, layer in enumerate(routing.layers)
    )
    picture = (
        f'<div class="heat"><svg viewBox="0 0 {width} {height}" style="width:{width}px" role="img" '
        f'aria-label="Tokens by layer and expert; the same numbers are in the table below">'
        f'<text x="{LEFT}" y="14">experts 0 to {experts - 1}</text>{names}{cells}</svg></div>'
    )
    rows = "".join(
        f"<tr><th scope='row'>{layer}</th><td>{balance:.2f}</td><td>{idle} of {experts}</td></tr>"
        for layer, balance, idle in zip(routing.layers, routing.balance, routing.idle, strict=True)
    )
    table = (
        "<table class='facts'><tr><th scope='col'>Layer</th><th scope='col'>Busiest over mean</th>"
        f"<th scope='col'>Not chosen</th></tr>{rows}</table>"
    )
    words = (
        f"<p>{routing.tokens} tokens chose {routing.per_token} of {experts} experts in each layer; "
        f"the darkest cell is {most} tokens.</p>"
    )
    return section("Experts", words + picture + table)


def drafts_html(drafted: int, accepted: int) -> str:
    """How often the multi-token prediction layer was right."""
    if not drafted:
        return section("Drafted tokens", "<p>Drafting did not pay on this machine just now.</p>")
    return section(
        "Drafted tokens",
        f"<p>The multi-token prediction layer drafted {drafted} tokens of an answer; {accepted} "
        f"({accepted / drafted:.0%}) were what the model itself wrote.</p>",
    )
