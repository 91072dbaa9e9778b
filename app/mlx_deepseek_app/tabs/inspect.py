"""Under the hood: which experts a prompt's tokens choose, and what the cache would else cost."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import gradio as gr

from mlx_deepseek.engine.inspect import CacheWidths, cache_widths
from mlx_deepseek_app.jobs.model_service import ModelService
from mlx_deepseek_app.storage.store import Store
from mlx_deepseek_app.tabs.heat_maps import routing_html, section, selection_html
from mlx_deepseek_app.tabs.job_tab import JobTab, Updates
from mlx_deepseek_app.widgets import status
from mlx_deepseek_app.widgets.event_options import FREE

REFRESH_S = 0.2
EXAMPLE = "What is 347 + 586?"
EXAMPLES = (EXAMPLE, "How many r's are in strawberry?", "def mean(numbers):")
TO_SEE = (
    ("Experts", "A heat map of which experts each layer sends the tokens to, played word by word."),
    ("Cache", "What a token takes in memory, beside what other kinds of attention would take."),
    ("Drafted tokens", "How often the model guesses its own next words, and writes two at once."),
    ("Sparse attention", "Which earlier tokens each token looks at, where the model chooses."),
)
DRAFTED_TOKENS = ANSWER_TOKENS = 48
SCRIPT = "hood.begin(element, watch);"


class InspectTab(JobTab):
    """Components and handlers of the page."""

    name = "inspect"
    title = "Under the hood"
    about = "What a prompt sets in motion inside of the model in memory."

    def __init__(self, service: ModelService, store: Store) -> None:
        super().__init__(service, store)
        with self.frame():
            with self.asking():
                self.prompt = gr.Textbox(label="Prompt to look at", value=EXAMPLE, max_length=4000)
                with self.choosing():
                    self.buttons("Look")
            example = self.examples(EXAMPLES, self.prompt)
            self.shown = gr.HTML(to_see_html(), elem_id="inspect-shown", js_on_load=SCRIPT)
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
    answer = engine.generate(prompt, max_tokens=ANSWER_TOKENS, logprobs=0).logprobs
    asked = engine.processor.encode(prompt).ids
    routing = engine.routing([*asked, *(one.token for one in answer)])
    yield routing_html(routing, [one.text for one in answer])
    if getattr(engine.model, "mtp", None):
        usage = engine.generate(prompt, max_tokens=DRAFTED_TOKENS).usage
        yield drafts_html(usage.drafted_tokens, usage.accepted_tokens)
    else:
        yield section("Drafted tokens", "<p>This model has no multi-token prediction layer.</p>")
    indexed = engine.config.get("index_topk")
    yield selection_html(engine.selection(prompt)) if indexed else dense_html()


def to_see_html() -> str:
    """What the page will show, before it is asked."""
    return "".join(section(title, f"<p>{words}</p>") for title, words in TO_SEE)


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
