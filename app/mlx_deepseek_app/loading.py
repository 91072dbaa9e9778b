"""Loading a model from the settings panel, and the first one when a page is opened."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from mlx_deepseek_app import status
from mlx_deepseek_app.chat import watch_load
from mlx_deepseek_app.events import owner
from mlx_deepseek_app.host import Host


class Loading:
    """Handlers; the model that is in memory stays until another one is."""

    def __init__(self, host: Host) -> None:
        self.host = host

    async def on_load(self, request: gr.Request, source: str | None) -> AsyncIterator[tuple]:
        """Load the model in the picker, for all tabs; the old one stays when that fails."""
        source = (source or "").strip()
        if not source:
            yield status.load_failed("", "Choose or type a model first.", ""), gr.skip(), gr.skip()
            return
        job = self.host.load(owner(request), source)
        html = ""
        async for html in watch_load(self.host, job, source):
            yield html, gr.Button(visible=True), gr.skip()
        yield html, gr.Button(visible=False), gr.HTML(visible=self.host.engine is None)

    def on_cancel(self, request: gr.Request) -> None:
        """Give up loading; what was downloaded stays for the next try."""
        self.host.loads.cancel(owner(request))

    async def on_open(self) -> AsyncIterator[Any]:
        """A page was opened: show how far the first load is, and why it failed if it did."""
        job = self.host.first_load
        if job is not None and self.host.engine is None:
            async for html in watch_load(self.host, job, self.host.first_source):
                yield gr.HTML(html, visible=True)
        yield gr.HTML(visible=self.host.engine is None)
