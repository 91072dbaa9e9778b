"""Under the hood: which experts a prompt's tokens choose, and what the cache would else cost."""

from collections.abc import AsyncIterator, Iterator
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from mlx_deepseek.engine.inspect import CacheWidths, Routing, Selection, cache_widths
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.tabs.job_tab import JobTab, Updates
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import FREE

REFRESH_S = 0.2
EXAMPLE = "What is 347 + 586?"
EXAMPLES = (EXAMPLE, "How many r's are in strawberry?", "def mean(numbers):")
TO_SEE = (
    ("Experts", "A heat map of which experts each layer sends the tokens to, and how evenly."),
    ("Cache", "What a token takes in memory, beside what other kinds of attention would take."),
    ("Drafted tokens", "How often the model guesses its own next words, and writes two at once."),
    ("Sparse attention", "Which earlier tokens each token looks at, where the model chooses."),
)
DRAFTED_TOKENS = 48


class InspectTab(JobTab):
    """Components and handlers of the page."""

    name = "inspect"
    title = "Under the hood"
    about = "What a prompt sets in motion inside of the model in memory."

    def __init__(self, service: ModelService) -> None:
        super().__init__(service)
        with self.frame():
            with self.asking():
                self.prompt = gr.Textbox(label="Prompt to look at", value=EXAMPLE, max_length=4000)
                with self.choosing():
                    self.buttons("Look")
            example = self.examples(EXAMPLES, self.prompt)
            self.shown = gr.HTML(to_see_html(), elem_id="inspect-shown")
        for trigger in (self.go.click, self.prompt.submit, example.then):
            trigger(self.on_look, self.prompt, [self.state, self.shown, self.go, self.halt], **FREE)

    async def on_look(self, request: gr.Request, prompt: str) -> AsyncIterator[Updates]:
        """Run the prompt and show what it did."""
        if not prompt.strip():
            yield {self.state: status.failed("Write a prompt first.")}
            return
        self.on_stop(request)
        job = self.service.stream(self.owner(request), lambda engine: inspect(engine, prompt))
        html = ""
        async for buttons in self.follow(job, REFRESH_S):
            html += "".join(part for _, part in job.take())
            state = "" if job.finished and not job.error else self.state_html(job, "Looking", [])
            yield {self.state: state, self.shown: html, **buttons}


def inspect(engine: Any, prompt: str) -> Iterator[str]:
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


CELL, GAP, LEFT, TOP = 14, 2, 70, 22  # of heat maps, in units of their pictures
CELLS = 48  # on a side, of tokens by tokens


def to_see_html() -> str:
    """What the page will show, before it is asked."""
    return "".join(section(title, f"<p>{words}</p>") for title, words in TO_SEE)


def section(title: str, html: str) -> str:
    """A part of the page."""
    return f'<section class="inspect"><h3>{escape(title)}</h3>{html}</section>'


def cache_html(widths: CacheWidths, layers: int) -> str:
    """Bars of bytes that a token takes in a 16-bit cache."""
    rows = [("This model", widths.used)]
    if widths.gqa < widths.mha:
        rows.append((f"Grouped queries ({widths.groups} groups)", widths.gqa))
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
        cell(e, m, count / most)
        + f"<title>layer {layer}, expert {e}: {count} of {routing.tokens} tokens</title></rect>"
        for m, (layer, row) in enumerate(zip(routing.layers, routing.counts, strict=True))
        for e, count in enumerate(map(int, row))
    )
    names = "".join(
        f'<text x="{LEFT - 8}" y="{TOP + m * (CELL + GAP) + CELL - 3}" text-anchor="end">'
        f"layer {layer}</text>"
        for m, layer in enumerate(routing.layers)
    )
    ticks = "".join(
        f'<text x="{LEFT + e * (CELL + GAP) + CELL / 2}" y="14" text-anchor="middle">{e}</text>'
        for e in range(0, experts, max(1, -(-experts * 2 // CELLS)))
    )
    picture = (
        f'<div class="heat"><svg viewBox="0 0 {width} {height}" {wide(width)} role="img" '
        f'aria-label="Tokens by layer and expert; the same numbers are in the table below">'
        f'<text x="{LEFT - 8}" y="14" text-anchor="end">expert</text>{ticks}{names}{cells}</svg>'
        f"{legend('no token', f'{most} tokens')}</div>"
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


def wide(width: int) -> str:
    """How large a heat map is drawn: small ones larger, for the eye."""
    return f'style="width:{width * max(1.0, min(1.7, 640 / width)):.0f}px"'


def legend(least: str, most: str) -> str:
    """What the palest and the darkest cell mean."""
    return f'<p class="legend"><span>{least}</span><i></i><span>{most}</span></p>'


def cell(column: int, row: int, share: float) -> str:
    """The beginning of a square of a heat map; `share` 1 is the darkest."""
    return (
        f'<rect x="{LEFT + column * (CELL + GAP)}" y="{TOP + row * (CELL + GAP)}" width="{CELL}" '
        f'height="{CELL}" rx="2" fill-opacity="{0.06 + 0.94 * share:.2f}">'
    )


def binned(counts: np.ndarray, at_most: int = CELLS) -> tuple[np.ndarray, int]:
    """Sums of squares of so many cells that at most `at_most` are left, and the squares' width."""
    step = -(-len(counts) // at_most)
    edges = np.arange(0, len(counts), step)
    return np.add.reduceat(np.add.reduceat(counts, edges, axis=0), edges, axis=1), step


def selection_html(selection: Selection) -> str:
    """A picture of which tokens attend to which earlier ones."""
    tokens, layers = len(selection.counts), selection.layers
    possible, step = binned(np.tri(tokens, dtype=np.int64) * layers)
    chosen, _ = binned(selection.counts)
    size = len(chosen) * (CELL + GAP)
    cells = "".join(
        cell(k, q, chosen[q, k] / possible[q, k])
        + f"<title>token {q * step}, earlier token {k * step}: chosen in {chosen[q, k]} of "
        f"{possible[q, k]} cases</title></rect>"
        for q in range(len(chosen))
        for k in range(q + 1)
    )
    share = selection.counts.sum() / (np.tri(tokens).sum() * layers)
    words = (
        f"<p>Each token attends to the {selection.per_token:,} earlier ones that the lightning "
        f"indexer chooses: {share:.0%} of what {tokens:,} tokens could attend to in {layers} "
        "layers.</p>"
    )
    picture = (
        f'<div class="heat"><svg viewBox="0 0 {LEFT + size} {TOP + size}" {wide(LEFT + size)} '
        f'role="img" aria-label="Tokens from top to bottom, and to the right the '
        f'earlier ones that they attend to"><text x="{LEFT}" y="14">earlier tokens</text>'
        f'<text x="{LEFT - 8}" y="{TOP + CELL - 3}" text-anchor="end">each token</text>{cells}'
        f"</svg>{legend('never', 'always')}</div>"
    )
    return section("Sparse attention", words + picture)


def dense_html() -> str:
    """That there is no choice to show."""
    says = "This model attends to all earlier tokens: it has no indexer."
    return section("Sparse attention", f"<p>{says}</p>")


def drafts_html(drafted: int, accepted: int) -> str:
    """How often the multi-token prediction layer was right."""
    if not drafted:
        return section("Drafted tokens", "<p>Drafting did not pay on this machine just now.</p>")
    return section(
        "Drafted tokens",
        f"<p>The multi-token prediction layer drafted {drafted} tokens of an answer; {accepted} "
        f"({accepted / drafted:.0%}) were what the model itself wrote.</p>",
    )
