"""Server: where agents reach this app's model, what they are told, and what they ask now."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from mlx_deepseek_app.server.agents import AGENTS, NO_KEY, Target
from mlx_deepseek_app.server.metrics import Live
from mlx_deepseek_app.widgets.column_html import head_html
from mlx_deepseek_app.widgets.event_options import FREE, QUIET

REFRESH_S = 2.0
SHOWN = 20
COLUMNS = ("API", "State", "Prompt", "From the cache", "Answer", "Tokens/s", "Seconds")
SETTINGS = "Settings of an editor"
ABOUT = "Let agents, editors and scripts use the model in memory, by OpenAI's and Anthropic's APIs."


class ServerTab:
    """Components and handlers of the page over the API's `site`."""

    def __init__(self, site: Any) -> None:
        self._site = site
        with gr.Column(elem_classes="see", elem_id="server"):
            gr.HTML(head_html("Server", ABOUT), elem_classes="page-head")
            self.where = gr.HTML("", elem_id="server-where")
            self.agent = gr.Dropdown([*AGENTS, SETTINGS], label="Start an agent", value="claude")
            self.told = gr.Code("", language="shell", label="In a terminal", elem_id="server-told")
            self.requests = gr.HTML(requests_html([]), elem_id="server-requests")
            self.timer = gr.Timer(REFRESH_S, active=False)
        self.agent.change(self.on_agent, self.agent, self.told, **FREE)
        self.timer.tick(self.on_tick, None, self.requests, **QUIET)

    def wire(self, tab: gr.Tab) -> None:
        """Show what is current when the page is opened, and from then on."""
        opened = [self.where, self.told, self.requests, self.timer]
        tab.select(self.on_open, self.agent, opened, **FREE)

    def on_open(self, request: gr.Request, agent: str) -> dict[Any, Any]:
        """Fill the page."""
        target = self._target(request)
        return {
            self.where: where_html(target, self._site.settings.api_key is not None),
            self.told: told(agent, target),
            self.requests: self.on_tick(),
            self.timer: gr.Timer(active=True),
        }

    def on_agent(self, request: gr.Request, agent: str) -> str:
        """The settings of another agent."""
        return told(agent, self._target(request))

    def on_tick(self) -> str:
        """What is asked now, and was before."""
        metrics = self._site.metrics
        live = [*metrics.running.values(), *reversed(metrics.recent)]
        return requests_html(live[:SHOWN])

    def _target(self, request: gr.Request) -> Target:
        """The server as this visitor reaches it, who knows the key already."""
        headers: Mapping[str, str] = request.headers
        scheme = headers.get("x-forwarded-proto", "http")
        key = self._site.settings.api_key or NO_KEY
        return Target(f"{scheme}://{headers['host']}", self._site.models.listed()[0], key)


def told(agent: str, target: Target) -> str:
    """What is written into a terminal, or into an editor's settings."""
    if agent in AGENTS:
        return AGENTS[agent].shown(target)
    values = {"baseURL": f"{target.url}/v1", "apiKey": target.key, "model": target.model}
    return json.dumps(values, indent=2)


def where_html(target: Target, has_key: bool) -> str:
    """The addresses, and the key."""
    rows = [("OpenAI, DeepSeek", f"{target.url}/v1"), ("Anthropic", target.url)]
    if has_key:
        rows.append(("API key", target.key))
    listed = "".join(
        f"<tr><th scope=row>{name}</th><td><code>{escape(value)}</code></td></tr>"
        for name, value in rows
    )
    return f'<section class="inspect"><h3>Addresses</h3><table>{listed}</table></section>'


def requests_html(live: Sequence[Live]) -> str:
    """A table of requests, newest first; what was said is nowhere."""
    head = "".join(f"<th scope=col>{name}</th>" for name in COLUMNS)
    rows = "".join(f"<tr>{_cells(one.shown())}</tr>" for one in live)
    if not live:
        return '<section class="inspect"><h3>Requests</h3><p>None yet.</p></section>'
    table = f"<table><tr>{head}</tr>{rows}</table>"
    return f'<section class="inspect"><h3>Requests</h3>{table}</section>'


def _cells(shown: Mapping[str, Any]) -> str:
    names = (
        "api",
        "state",
        "prompt_tokens",
        "cached_tokens",
        "completion_tokens",
        "tokens_per_second",
        "seconds",
    )
    return "".join(f"<td>{escape(str(shown[name]))}</td>" for name in names)
